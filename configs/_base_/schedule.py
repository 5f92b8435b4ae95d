# From scratch: 72 epochs of COCO, as long as networks without pretrained weights need (He et al., Rethinking ImageNet
# Pre-training, ICCV 2019). `tools/train.py --pretrained` takes what differs from `pretrained_schedule`.
epochs = 72
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=4)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=epochs, by_epoch=True, milestones=[epochs * 5 // 6, epochs * 17 // 18], gamma=0.1),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=35, norm_type=2),
)
pretrained_schedule = dict(
    train_cfg=dict(max_epochs=24, val_interval=1),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
        dict(type="MultiStepLR", begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
    ],
)
