"""Detectors beside each other: each trained on the same photos for the same CPU seconds, measured and timed alike."""
