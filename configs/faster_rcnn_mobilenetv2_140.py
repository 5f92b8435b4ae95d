# The paper's baseline MobileNetV2x1.4 (Table 2). Its weights: tools/train.py --pretrained
_base_ = "./_base_/faster_rcnn.py"
model = dict(
    backbone=dict(
        type="gemnet.FeatureBackbone",
        sync_bn=True,
        model="timm/mobilenetv2_140",
        nodes=["blocks.1", "blocks.2", "blocks.4", "bn2"],
    ),
    neck=dict(in_channels=[32, 48, 136, 1792]),
)
