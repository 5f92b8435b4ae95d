_base_ = "./_base_/faster_rcnn.py"
model = dict(
    backbone=dict(type="gemnet.GEMNet", arch="b", out_indices=(1, 2, 3, 5), norm_cfg=dict(type="gemnet.SyncBN")),
    neck=dict(in_channels=[72, 264, 504, 1040]),
)
