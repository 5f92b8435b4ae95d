"""The command lines: what `gemnet` and tools/*.py call."""
