# The paper's baseline MnasNetx1.3 (Table 2). Its weights: tools/train.py --pretrained
_base_ = "./_base_/retinanet.py"
model = dict(
    backbone=dict(
        type="gemnet.FeatureBackbone",
        sync_bn=True,
        model="torchvision/mnasnet1_3",
        nodes=["layers.9", "layers.11", "layers.16"],
    ),
    neck=dict(in_channels=[56, 128, 1280]),
)
