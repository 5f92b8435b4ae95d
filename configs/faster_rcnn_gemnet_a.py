_base_ = "./_base_/faster_rcnn.py"
model = dict(
    backbone=dict(type="gemnet.GEMNet", arch="a", out_indices=(1, 2, 3, 5), norm_cfg=dict(type="gemnet.SyncBN")),
    neck=dict(in_channels=[64, 272, 560, 1032]),
)
