# The paper's baseline MnasNetx1.3 (Table 2). Its weights: tools/train.py --pretrained
_base_ = "./_base_/faster_rcnn.py"
model = dict(
    backbone=dict(
        type="gemnet.FeatureBackbone",
        sync_bn=True,
        model="torchvision/mnasnet1_3",
        nodes=["layers.8", "layers.9", "layers.11", "layers.16"],
    ),
    neck=dict(in_channels=[32, 56, 128, 1280]),
)
