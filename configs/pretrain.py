# What `gemnet pretrain` trains: a network of ours on a teacher's answers to images without labels. It fills in images and
# answers. Whatever a config that inherits changes (--config) holds for it too.
_base_ = "./_base_/pretrain.py"
