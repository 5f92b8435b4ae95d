# Networks beside each other on Tiny-ImageNet at 64x64 (data_root/train/<class>/*.jpg, data_root/val likewise), one recipe,
# a schedule for a CPU. tools/compare.py trains them. From _base_/imagenet.py, but: batch 64 with twice the learning rate that
# goes with it, for a schedule this short; shifts in place of small crops, which are for long ones; no RandAugment, no EMA.
_base_ = "./imagenet.py"
epochs = 3
batch_size = 64
image_size = 64
data_root = "data/tiny_imagenet"
recipe = dict(epochs=epochs, batch_size=batch_size, image_size=image_size, data_root=data_root)
model = dict(head=dict(num_classes=None))
data_preprocessor = dict(num_classes=None)
load_image = dict(type="gemnet.LoadImage", on_error="raise")
resize = dict(type="Resize", scale=image_size, backend="pillow", interpolation="bicubic")  # the images have 64x64 pixels
train_pipeline = [
    load_image,
    resize,
    dict(type="RandomCrop", crop_size=image_size, padding=6, pad_val=114),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [load_image, resize, dict(type="PackInputs")]
train_dataloader = dict(batch_size=batch_size, num_workers=0, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=0, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=epochs, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR", by_epoch=True, begin=1, T_max=epochs - 1, end=epochs, eta_min=0.0, convert_to_iter_based=True
    ),
]
custom_hooks = [dict(type="gemnet.EpochSeedHook")]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
auto_scale_lr = dict(base_batch_size=64)
