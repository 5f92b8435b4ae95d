"""How good and how costly a candidate is, and where that is found out."""
