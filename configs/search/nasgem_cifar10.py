"""The paper's setting: 1/10 of CIFAR-10 as proxy, 500 training images a class, at most 20 epochs.

Downloads CIFAR-10 (170 MB) to data.root once, if it is not there.
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="cifar10", root="data/cifar10", download=True)
proxy = dict()
search = dict(start=50, rounds=10, batch=15, draws=1_000_000)
