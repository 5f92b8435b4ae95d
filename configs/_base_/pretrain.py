# A network learns a teacher's probabilities. An epoch has each view of each image once. From _base_/imagenet.py, but:
#   AdamW, learning rate .002 at batch 256, weight decay .05; no label smoothing, for the answers are soft; no RandAugment, for
#   teacher and student see one view alike (Beyer et al., A good teacher is patient and consistent, CVPR 2022)
_base_ = "../gemnet_a_imagenet.py"
custom_imports = dict(imports=["gemnet.registry", "gemnet.pretraining.parts"])

pretraining = dict(teacher="efficientnet_lite0", views=2, teacher_size=None, features=True, batch_power=0.5)
# what the command does unless it is told otherwise; the learning rate follows the batch to the power of batch_power
epochs = 10
batch_size = 128
image_size = 64
recipe = dict(epochs=epochs, batch_size=batch_size, image_size=image_size)

model = dict(
    backbone=dict(norm_cfg=dict(type="BN")),
    head=dict(_delete_=True, type="gemnet.DistillationHead", num_classes=1000, in_channels=None, topk=(1, 5)),
)
load_image = dict(type="LoadImageFromFile", _scope_="gemnet", on_error="skip")
cut = dict(type="gemnet.CutView", scale=image_size)
pack = dict(type="PackInputs", algorithm_keys=("teacher_classes", "teacher_scores", "teacher_features"))
dataset = dict(
    type="gemnet.TeacherViews", ann_file="", targets="", images=0, kept=0, views=[0], pipeline=[load_image, cut, pack]
)
train_dataloader = dict(
    batch_size=batch_size, num_workers=1, dataset=dict(_delete_=True, **dataset), drop_last=True
)  # fmt: skip
val_dataloader = dict(batch_size=batch_size, num_workers=1, dataset=dict(_delete_=True, test_mode=True, **dataset))
test_dataloader = val_dataloader
train_cfg = dict(_delete_=True, type="gemnet.TimedTrainLoop", max_epochs=epochs)  # seconds=... for a budget of time
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0014, weight_decay=0.05), clip_grad=dict(max_norm=5.0)
)  # .002 at batch 256, with the root of the batch
param_scheduler = None  # the loop's own: a cosine that follows the time as well
custom_hooks = [
    dict(type="gemnet.EpochSeedHook"),
    dict(type="gemnet.EMAHook", momentum=1e-4, priority="ABOVE_NORMAL"),
    dict(type="gemnet.ProgressHook", metrics=dict(agreement="accuracy/top1")),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
auto_scale_lr = dict(base_batch_size=128)
