# Any cell: --cfg-options model.backbone.cell=best_cell.json model.backbone.target_macs=300e6
_base_ = "./_base_/imagenet.py"
model = dict(
    backbone=dict(cell="work_dirs/digits/best_cell.json", target_macs=463e6, target_params=4.3e6),
    head=dict(in_channels=None),  # the backbone's
)
