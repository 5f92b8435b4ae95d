"""Images and proxy training of the cells that SVGe extrapolates to (tools/svge.py): 1/10 of CIFAR-10, as the paper's proxy.

Of a search's settings only `data` and `proxy` are read. Each network is as wide as 15 M MACs an image allow.
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="cifar10", root="data/cifar10", download=True, fraction=0.1, val_per_class=250)
proxy = dict(macs=15e6, epochs=12, batch_size=128, learning_rate=0.2, shift=4, flip=True)  # ours
search = dict()
