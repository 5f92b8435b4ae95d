# What `gemnet pretrain --supervised` trains: a network of ours on images in a folder a class. It fills in images and classes.
_base_ = "./_base_/pretrain_supervised.py"
