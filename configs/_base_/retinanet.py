# RetinaNet as the paper counts it: FPN with 256 channels on C3-C5, P6 and P7 from P5, two heads of four convolutions.
_base_ = ["mmdet::_base_/models/retinanet_r50_fpn.py", "./coco.py", "./schedule.py"]
recipe = dict(  # the values here go with these numbers
    epochs=_base_.epochs,
    val_interval=_base_.train_cfg.val_interval,
    batch_size=_base_.batch_size,
    image_size=_base_.image_size,
    data_root=_base_.data_root,
)
model = dict(
    backbone=dict(_delete_=True),
    neck=dict(start_level=0, add_extra_convs="on_output"),
    bbox_head=dict(type="gemnet.RetinaHead"),
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
