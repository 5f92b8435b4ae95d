_base_ = "./_base_/imagenet.py"
model = dict(backbone=dict(arch="b"), head=dict(in_channels=1040))
