"""NASGEM: search for a cell with a kernel-guided embedding, an efficiency predictor and bootstrap optimisation."""
