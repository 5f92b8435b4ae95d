"""The paper's setting: 1/10 of CIFAR-10 as proxy, 500 training images a class, at most 20 epochs. Wants a GPU.

Downloads CIFAR-10 (170 MB) to data.root once, if it is not there. Its test set is not touched.
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="cifar10", root="data/cifar10", download=True, fraction=0.1)
proxy = dict(width=16, stem_width=32, epochs=20, batch_size=64, learning_rate=0.1, shift=4, flip=True, cutout=8)  # ours
search = dict(start=50, rounds=10, batch=15, draws=1_000_000)  # 200 candidates; ours
