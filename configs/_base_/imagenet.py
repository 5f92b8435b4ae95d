# ImageNet classification for mobile networks of 300 to 600 M MACs. Where each number is from:
#   300 epochs, cosine, 5 epochs of warm-up: Wightman et al., ResNet strikes back, 2021 (procedure A2)
#   SGD, Nesterov momentum .9, learning rate .8 at batch 1,024, weight decay 5e-5, none on biases and normalisation:
#     Radosavovic et al., Designing Network Design Spaces, CVPR 2020 (mobile regime: .1 per 128 images)
#   label smoothing .1: Tan et al., MnasNet, CVPR 2019; Howard et al., MobileNetV3, ICCV 2019
#   EMA with decay .9999: MobileNetV3 (less in runs of under 200,000 iterations: gemnet.openmmlab.averaging)
#   RandAugment 2 x magnitude 9 with deviation .5: timm's MobileNetV3 and EfficientNet-B0
#   no Mixup: networks of this size underfit; neither MnasNet nor MobileNetV3 uses it
# The four numbers change a run, in a config that inherits or by --cfg-options epochs=20; gemnet.openmmlab.recipe carries
# them to all that follows.
_base_ = ["mmpretrain::_base_/default_runtime.py"]
custom_imports = dict(imports=["gemnet.registry"], allow_failed_imports=False)
channels_last = True  # see gemnet.openmmlab.engine.build_runner

epochs = 300
batch_size = 128  # a process
image_size = 224
data_root = "data/imagenet"
recipe = dict(epochs=epochs, batch_size=batch_size, image_size=image_size, data_root=data_root)  # the values here go with these

model = dict(
    type="ImageClassifier",
    backbone=dict(type="gemnet.GEMNet", out_indices=(5,), norm_cfg=dict(type="BN")),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
        topk=(1, 5),
    ),
)
data_preprocessor = dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
load_image = dict(type="LoadImageFromFile", _scope_="gemnet")  # by this name OpenMMLab's tools find it
train_pipeline = [
    load_image,
    dict(type="RandomResizedCrop", scale=image_size, backend="pillow", interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(
        type="RandAugment",
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
    ),
    dict(type="PackInputs"),
]
test_pipeline = [
    load_image,
    dict(type="ResizeEdge", scale=image_size * 8 // 7, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=image_size),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=False,  # EpochSeedHook: an epoch's random numbers are the same after --resume
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="gemnet.ImageFolder", data_root=data_root, split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="gemnet.ImageFolder", data_root=data_root, split="val", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1, 5))
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.8, momentum=0.9, nesterov=True, weight_decay=5e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=5, T_max=epochs - 5, eta_min=0.0, convert_to_iter_based=True),
]
randomness = dict(seed=0)
custom_hooks = [dict(type="gemnet.EpochSeedHook"), dict(type="gemnet.EMAHook", momentum=1e-4, priority="ABOVE_NORMAL")]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="auto"))
model_wrapper_cfg = dict(type="gemnet.DistributedDataParallel", broadcast_buffers=False)
auto_scale_lr = dict(enable=False, base_batch_size=1024)  # 8 processes x 128 images; --auto-scale-lr enables it
