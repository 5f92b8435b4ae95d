"""The networks that NASGEM's Table 1 compares with: published cells and random graphs, built by name and counted."""
