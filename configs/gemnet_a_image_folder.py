# Your own images, data_root/train/<class>/*.jpg and data_root/val/<class>/*.jpg, on one GPU or a CPU; a class for each folder.
# --cfg-options data_root=photos epochs=30 batch_size=32 image_size=160; --pretrained CHECKPOINT starts from trained weights.
_base_ = "./gemnet_a_imagenet.py"
epochs = 100
batch_size, data_root = 64, "data/images"
recipe = dict(epochs=epochs, batch_size=batch_size, data_root=data_root)  # the values here go with these
model = dict(head=dict(num_classes=None, topk=(1,)))
data_preprocessor = dict(num_classes=None)
train_dataloader = dict(batch_size=batch_size, num_workers=2, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=batch_size, num_workers=2, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=0.05))  # .1 per 128 images, as in _base_/imagenet.py
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=5, T_max=epochs - 5, eta_min=0.0, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=64)
