"""The Weisfeiler-Lehman kernel of cells (Eq. 1)."""
