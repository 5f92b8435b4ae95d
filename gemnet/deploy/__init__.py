"""Trained networks and whole detectors as files for deployment, and their int8 form."""
