# RTMDet for phones and laptops: mmdet's RTMDet-tiny with GEMNet's features made 64 channels wide before neck and head,
# on COCO at 320 pixels. The learning rate is mmdet's, for a batch of 256; --auto-scale-lr adapts it.
_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"
custom_imports = dict(imports=["gemnet.registry"], allow_failed_imports=False)

batch_size = 32  # a process
image_size = (320, 320)  # images are fitted into it; --cfg-options image_size=640 for another
data_root = "data/coco/"
epochs = 300
recipe = dict(  # the values here go with these numbers
    epochs=epochs, val_interval=10, batch_size=batch_size, image_size=image_size, data_root=data_root
)

width = 64
norm_cfg = dict(type="gemnet.SyncBN")
model = dict(
    use_syncbn=False,  # mmdet would put torch's own, which needs GPUs, in place of norm_cfg's
    backbone=dict(_delete_=True),
    neck=dict(type="gemnet.NarrowedPAFPN", out_channels=width, norm_cfg=norm_cfg),
    # exp_on_reg, as mmdet's larger ones have: boxes begin two strides wide instead of empty. A box is trained by as much as it
    # overlaps its object, so that small objects are not learned from empty ones in a short run.
    bbox_head=dict(in_channels=width, feat_channels=width, norm_cfg=norm_cfg, exp_on_reg=True),
)

load_image = dict(type="LoadImageFromFile", _scope_="gemnet")  # by this name OpenMMLab's tools find it
grey = dict(img=(114, 114, 114))
augmented = [  # without the mixtures of images, which mmdet leaves out in the last 20 epochs; here the whole run
    load_image,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=image_size),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=image_size, pad_val=grey),
    dict(type="PackDetInputs"),
]
train_pipeline = augmented
test_pipeline = [
    load_image,
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="Pad", size=image_size, pad_val=grey),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=False,  # EpochSeedHook: an epoch's random numbers are the same after --resume
    dataset=dict(type="gemnet.CocoDataset", data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8, num_workers=4, dataset=dict(type="gemnet.CocoDataset", data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(type="gemnet.CocoMetric", ann_file=None)  # the data set's own
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR", eta_min=0.0002, begin=epochs // 2, end=epochs, T_max=epochs // 2, by_epoch=True,
        convert_to_iter_based=True,
    ),
]  # fmt: skip
auto_scale_lr = dict(enable=False, base_batch_size=256)
randomness = dict(seed=0)
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=2e-4, update_buffers=True, priority=49),
]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="coco/bbox_mAP"))
model_wrapper_cfg = dict(type="gemnet.DistributedDataParallel", broadcast_buffers=False)
