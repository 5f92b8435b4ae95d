"""The backbone for MMDetection and MMPretrain, and what its neck must know, under a short name."""

from gemnet.openmmlab.backbone import OUT_INDICES, Backbone, GEMNet, out_channels, resolve_architecture

__all__ = ["OUT_INDICES", "Backbone", "GEMNet", "out_channels", "resolve_architecture"]
