"""Searches beside random search, with equal evaluations: whether they are better than chance."""
