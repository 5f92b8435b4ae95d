# A network learns the labels of images: the recipe of _base_/imagenet.py, whose numbers are told there, shorter and smaller.
_base_ = "../gemnet_a_imagenet.py"
custom_imports = dict(imports=["gemnet.registry", "gemnet.pretraining.parts"])

pretraining = dict(supervised=True, batch_power=1.0)  # the learning rate follows the batch
epochs = 100
batch_size = 128
image_size = 128
recipe = dict(epochs=epochs, batch_size=batch_size, image_size=image_size)

train_pipeline = [
    {{_base_.load_image}},
    dict(type="RandomResizedCrop", scale=image_size, backend="pillow", interpolation="bicubic"),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(
        type="RandAugment", policies="timm_increasing", num_policies=2, total_level=10, magnitude_level=9, magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
    ),
    dict(type="PackInputs"),
]  # fmt: skip
test_pipeline = [
    {{_base_.load_image}},
    dict(type="ResizeEdge", scale=image_size * 8 // 7, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=image_size),
    dict(type="PackInputs"),
]
model = dict(backbone=dict(norm_cfg=dict(type="BN")), head=dict(num_classes=None, in_channels=None))
listed = dict(type="gemnet.ListedImages", ann_file="")
train_dataloader = dict(num_workers=1, drop_last=True, dataset=dict(_delete_=True, pipeline=train_pipeline, **listed))
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, test_mode=True, pipeline=test_pipeline, **listed))
test_dataloader = val_dataloader
train_cfg = dict(_delete_=True, type="gemnet.TimedTrainLoop", max_epochs=epochs, warm_up=(1 / 60, 100_000))  # or seconds=...
param_scheduler = None  # the loop's own: a cosine that follows the time as well
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=1e-4, priority="ABOVE_NORMAL"),
    dict(type="gemnet.ProgressHook", metrics=dict(accuracy="accuracy/top1")),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
