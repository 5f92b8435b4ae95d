# ImageNet without labels on one machine with 8 GPUs: gemnet pretrain data/imagenet --config gemnet::pretrain_imagenet.py
# Where each number is from:
#   30 epochs of 10 views, each image 300 times: as long as _base_/imagenet.py
#   no augmentation but the views, random crops, mirrored or not, which teacher and student see alike (Beyer et al., A good
#     teacher is patient and consistent, CVPR 2022); the answers to 10 of each image lie on the disk
#   batch 128 a process, 1,024 with 8; AdamW at .004: .002 at batch 256 (_base_/pretrain.py), with the root of the batch
#   warm-up in the first sixtieth, 5 times each image: Wightman et al., ResNet strikes back, 2021
#   student at 224 pixels, teacher at 300: what its timm weights were trained with; mixed precision on GPUs
# With --supervised, ImageNet's labels: gemnet pretrain data/imagenet --supervised --epochs 300 --image-size 224, 8 processes.
_base_ = "./_base_/pretrain.py"
pretraining = dict(teacher="tf_efficientnetv2_s.in21k_ft_in1k", views=10, teacher_size=300)
epochs = 30
image_size = 224
recipe = dict(epochs=epochs, image_size=image_size)
cut = dict(scale=image_size)
dataset = dict(pipeline=[{{_base_.load_image}}, dict(type="gemnet.CutView", scale=image_size), {{_base_.pack}}])
train_cfg = dict(max_epochs=epochs, warm_up=(1 / 60, 100_000))
train_dataloader = dict(num_workers=12, dataset=dataset)
val_dataloader = dict(num_workers=4, dataset=dataset)
test_dataloader = val_dataloader
