_base_ = "./_base_/rtmdet.py"
model = dict(
    backbone=dict(type="gemnet.GEMNet", arch="a", out_indices=(2, 3, 4), norm_cfg=dict(type="gemnet.SyncBN")),
    neck=dict(in_channels=[272, 560, 1104]),
)
