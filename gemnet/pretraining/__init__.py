"""Weights without labels: a teacher's answers, kept on the disk, are what a network of ours learns."""
