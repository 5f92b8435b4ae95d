# Faster R-CNN as the paper counts it: FPN with 256 channels on C2-C5, P6 by max-pooling, two FC-1024.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "./coco.py", "./schedule.py"]
recipe = dict(  # the values here go with these numbers
    epochs=_base_.epochs,
    val_interval=_base_.train_cfg.val_interval,
    batch_size=_base_.batch_size,
    image_size=_base_.image_size,
    data_root=_base_.data_root,
)
model = dict(backbone=dict(_delete_=True))
