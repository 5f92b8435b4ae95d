"""Weights that ship, as `gemnet pretrain` writes them; `gemnet.model_table` tells which."""
