# A detector of one's own objects: `python tools/detect.py photos/` fills in the data, its classes and the numbers that suit
# data and machine. Whatever a config that inherits changes (`--config`) holds for it too.
_base_ = "../rtmdet_gemnet_a.py"

batch_size = 8  # these four are chosen anew for each data set, unless an option sets them
image_size = (320, 320)
data_root = "photos/"
epochs = 100
recipe = dict(epochs=epochs, val_interval=1, batch_size=batch_size, image_size=image_size, data_root=data_root)

grey = dict(img=(114, 114, 114))
train_pipeline = [
    dict(type="LoadImageFromFile", _scope_="gemnet", on_error="skip"),  # one that breaks off is told, and costs only itself
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.7, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=image_size, allow_negative_crop=True),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=image_size, pad_val=grey),
    dict(type="PackDetInputs"),
]
test_pipeline = [  # without Pad: a batch is padded to multiples of 32, and photos that are no squares cost less
    _base_.load_image,
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file="", data_prefix=dict(img=""), pipeline=train_pipeline,
        filter_cfg=dict(filter_empty_gt=False, min_size=0),  # images without an object teach what is none
    ),
)  # fmt: skip
val_dataloader = dict(
    num_workers=1, persistent_workers=False,
    dataset=dict(data_root=data_root, ann_file="", data_prefix=dict(img=""), pipeline=test_pipeline),
)  # fmt: skip
test_dataloader = val_dataloader

train_cfg = dict(_delete_=True, type="gemnet.TimedTrainLoop", max_epochs=epochs, patience=5)  # of 10 validations
param_scheduler = None  # the loop's own: it follows the time as well
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=35, norm_type=2)
)  # for a batch of 8
channels_last = True  # faster on CPUs, and with mixed precision on GPUs
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=2e-4, share=0.05, compare=False, update_buffers=True, priority=49),
    dict(type="gemnet.ProgressHook"),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_last=True, published_keys=None),
    visualization=dict(draw=False),
)
log_processor = dict(window_size=10)
