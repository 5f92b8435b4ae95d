_base_ = "./_base_/tiny_imagenet.py"
model = dict(
    backbone=dict(_delete_=True, type="gemnet.FeatureBackbone", model="timm/mobilenetv2_100", nodes=["bn2"]),
    head=dict(in_channels=None),  # the backbone's
)
