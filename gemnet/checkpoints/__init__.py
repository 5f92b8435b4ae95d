"""Checkpoints, read as untrusted: their weights, and what they tell of their training."""
