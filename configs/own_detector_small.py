# A smaller and faster one: GEMNet-A's cell in a network of half the MACs, with neck and head of 48 channels instead of 64.
# `gemnet detect photos/ --config gemnet::own_detector_small.py` trains it; there are no weights for its backbone.
_base_ = "./_base_/own_detector.py"
model = dict(
    backbone=dict(
        _delete_=True, type="gemnet.GEMNet", cell="gemnet_a", target_macs=230e6, out_indices=(2, 3, 4),
        norm_cfg=dict(type="gemnet.SyncBN"),
    ),
    neck=dict(in_channels=[96, 368, 720], out_channels=48),
    bbox_head=dict(in_channels=48, feat_channels=48),
)  # fmt: skip
