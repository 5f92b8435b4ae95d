_base_ = "./_base_/tiny_imagenet.py"
model = dict(
    backbone=dict(_delete_=True, type="gemnet.FeatureBackbone", model="torchvision/mnasnet1_0", nodes=["layers.16"]),
    head=dict(in_channels=None),  # the backbone's
)
