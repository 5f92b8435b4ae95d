"""svge_extrapolation.py with CIFAR-10 from a folder, data/cifar10/train/<class>/*.png, where nothing can be downloaded."""

_base_ = ["svge_extrapolation.py"]

data = dict(_delete_=True, type="image_folder", root="data/cifar10/train", size=32, train_per_class=500, val_per_class=250)
