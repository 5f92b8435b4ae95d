"""Trials: searched cells and their rivals at equal MACs, trained longer than in a search."""
