# GEMNet-A's cell at the MACs of its two peers here, 307 M at 224x224: mobilenetv2_100 has 301 M, mnasnet1_0 314 M
_base_ = "./_base_/tiny_imagenet.py"
model = dict(
    backbone=dict(cell="gemnet_a", target_macs=307e6, target_params=4.0e6, residual=True),
    head=dict(in_channels=None),  # the backbone's
)
