"""The search of mobile.py on 1/10 of CIFAR-10, all candidates at the same MACs: hours on a CPU.

It downloads CIFAR-10 (170 MB) to data.root once, if it is not there; its test set is not touched. Of networks with the same
MACs, those with fewer activations are faster.
"""

_base_ = ["mobile.py"]

data = dict(_delete_=True, type="cifar10", root="data/cifar10", download=True, fraction=0.1, val_per_class=250)
proxy = dict(macs=3e6, stem_width=32, stem_stride=2, epochs=6, batch_size=128, learning_rate=0.3, shift=4, flip=True)
cost, penalty = dict(type="activations"), 0.05
model = dict(residual=True)
