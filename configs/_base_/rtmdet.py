# RTMDet for phones and laptops: mmdet's RTMDet-tiny with GEMNet's features made 64 channels wide before neck and head, on COCO
# at 320 pixels, without its mixtures of images. The learning rate is mmdet's, for a batch of 256; --auto-scale-lr adapts it.
_base_ = "./coco.py"

batch_size = 32  # a process
image_size = (320, 320)  # images are fitted into it; --cfg-options image_size=640 for another
data_root = "data/coco/"
epochs = 300
recipe = dict(  # the values here go with these numbers
    epochs=epochs, val_interval=10, batch_size=batch_size, image_size=image_size, data_root=data_root
)

width = 64
layers = dict(norm_cfg=dict(type="gemnet.SyncBN"), act_cfg=dict(type="SiLU", inplace=True))
model = dict(
    _scope_="mmdet",
    type="RTMDet",
    use_syncbn=False,  # mmdet would put torch's own, which needs GPUs, in place of norm_cfg's
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],  # of red, green, blue, as the backbone's weights have it
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    neck=dict(type="gemnet.NarrowedPAFPN", out_channels=width, num_csp_blocks=1, expand_ratio=0.5, **layers),
    # exp_on_reg, as mmdet's larger ones have: boxes begin two strides wide instead of empty. A box is trained by as much as it
    # overlaps its object, so that small objects are not learned from empty ones in a short run.
    bbox_head=dict(
        type="RTMDetSepBNHead",
        num_classes=80,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type="DistancePointBBoxCoder"),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=True,
        share_conv=True,
        pred_kernel_size=1,
        **layers,
    ),
    train_cfg=dict(assigner=dict(type="DynamicSoftLabelAssigner", topk=13), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(nms_pre=30000, min_bbox_size=0, score_thr=0.001, nms=dict(type="nms", iou_threshold=0.65), max_per_img=300),
)

grey = dict(img=(114, 114, 114))
train_pipeline = [
    _base_.load_image,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=image_size),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=image_size, pad_val=grey),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    _base_.load_image,
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="Pad", size=image_size, pad_val=grey),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=batch_size, num_workers=4, pin_memory=True, batch_sampler=None, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(batch_size=8, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(proposal_nums=(100, 1, 10))  # of the surest 100, as pycocotools counts them
test_evaluator = val_evaluator

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=10)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.004, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR", eta_min=0.0002, begin=epochs // 2, end=epochs, T_max=epochs // 2, by_epoch=True,
        convert_to_iter_based=True,
    ),
]  # fmt: skip
auto_scale_lr = dict(base_batch_size=256)
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=2e-4, update_buffers=True, priority=49),
]
