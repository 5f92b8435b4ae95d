_base_ = "./_base_/rtmdet.py"
model = dict(
    backbone=dict(type="gemnet.GEMNet", arch="b", out_indices=(2, 3, 4), norm_cfg=dict(type="gemnet.SyncBN")),
    neck=dict(in_channels=[264, 504, 1008]),
)
