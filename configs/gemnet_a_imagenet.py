_base_ = "./_base_/imagenet.py"
model = dict(backbone=dict(arch="a"), head=dict(in_channels=1032))
