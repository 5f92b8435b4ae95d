"""Predictors of the scores of cells, and what bootstrap ranks cells by."""
