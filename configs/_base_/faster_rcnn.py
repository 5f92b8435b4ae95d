# Faster R-CNN as the paper counts it: FPN with 256 channels on C2-C5, P6 by max-pooling, two FC-1024.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "./coco.py", "./schedule.py"]
model = dict(backbone=dict(_delete_=True))
