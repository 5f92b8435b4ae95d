_base_ = "./_base_/tiny_imagenet.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="gemnet.FeatureBackbone",
        model="torchvision/mnasnet1_0",
        nodes=["layers.16"],
        bn_momentum=0.1,  # as the others have it; its own, .0003, is for 300 epochs
    ),
    head=dict(in_channels=None),  # the backbone's
)
