_base_ = "./_base_/retinanet.py"
model = dict(
    backbone=dict(type="gemnet.GEMNet", arch="a", out_indices=(2, 3, 5), norm_cfg=dict(type="gemnet.SyncBN")),
    neck=dict(in_channels=[272, 560, 1032]),
)
