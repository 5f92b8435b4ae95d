# COCO 2017 for detection, and how a run is logged, saved and spread over processes. The three numbers and
# `epochs` of schedule.py change a run, in a config that inherits or by --cfg-options image_size=[1000,600];
# gemnet.openmmlab.recipe carries them to all that follows.
_base_ = ["mmdet::_base_/datasets/coco_detection.py", "mmdet::_base_/default_runtime.py"]
custom_imports = dict(imports=["gemnet.registry"], allow_failed_imports=False)

batch_size = 2  # a process
image_size = (1333, 800)  # the longer side at most the one, the shorter at most the other
data_root = "data/coco/"

load_image = dict(type="LoadImageFromFile", _scope_="gemnet")  # by this name OpenMMLab's tools find it
train_pipeline = [
    load_image,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    load_image,
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    persistent_workers=False,  # EpochSeedHook: an epoch's random numbers are the same after --resume
    dataset=dict(type="gemnet.CocoDataset", pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(type="gemnet.CocoDataset", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type="gemnet.CocoMetric", ann_file=None)  # the data set's own
test_evaluator = val_evaluator

randomness = dict(seed=0)
custom_hooks = [dict(type="gemnet.EpochSeedHook")]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="coco/bbox_mAP"))
model_wrapper_cfg = dict(type="gemnet.DistributedDataParallel", broadcast_buffers=False)
auto_scale_lr = dict(enable=False, base_batch_size=16)  # 8 processes x 2 images; --auto-scale-lr enables it
