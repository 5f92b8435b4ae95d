"""nasgem_cifar10.py on CIFAR-10's training images as files: data.root/<class>/<image>."""

_base_ = ["nasgem_cifar10.py"]

data = dict(_delete_=True, type="image_folder", root="data/cifar10/train", size=32, train_per_class=500, val_per_class=250)
