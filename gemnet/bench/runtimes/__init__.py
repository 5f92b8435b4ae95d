"""Runtimes beside each other: networks written for each, compared with eager, and timed in rounds."""
