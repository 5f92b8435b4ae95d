# A network learns the labels of images: the recipe of _base_/imagenet.py, whose numbers are told there, shorter and smaller.
_base_ = "../gemnet_a_imagenet.py"
custom_imports = dict(imports=["gemnet.registry", "gemnet.pretraining.parts"])

pretraining = dict(supervised=True, batch_power=1.0)  # the learning rate follows the batch
epochs = 100
batch_size = 128
image_size = 128

model = dict(backbone=dict(norm_cfg=dict(type="BN")), head=dict(num_classes=None, in_channels=None))
listed = dict(type="gemnet.ListedImages", ann_file="")
train_dataloader = dict(
    num_workers=1, drop_last=True, dataset=dict(_delete_=True, pipeline={{_base_.train_pipeline}}, **listed)
)
val_dataloader = dict(num_workers=1, dataset=dict(_delete_=True, test_mode=True, pipeline={{_base_.test_pipeline}}, **listed))
test_dataloader = val_dataloader
train_cfg = dict(_delete_=True, type="gemnet.TimedTrainLoop", max_epochs=300, warm_up=(1 / 60, 100_000))  # or seconds=...
param_scheduler = None  # the loop's own: a cosine that follows the time as well
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=1e-4, priority="ABOVE_NORMAL"),
    dict(type="gemnet.ProgressHook", metrics=dict(accuracy="accuracy/top1")),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
