# A smaller and faster one: the network of half GEMNet-A's MACs, with neck and head of 48 channels instead of 64.
# `gemnet detect photos/ --config gemnet::own_detector_small.py` trains it.
_base_ = "./_base_/own_detector.py"
model = dict(
    backbone=dict(arch="a_small"),
    neck=dict(in_channels=[96, 368, 720], out_channels=48),
    bbox_head=dict(in_channels=48, feat_channels=48),
)
