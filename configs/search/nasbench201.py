"""The search on NAS-Bench-201 (Dong and Yang, ICLR 2020), CIFAR-10: 150 of 15,625 trained cells are looked up, in seconds.

The table is nasbench201.npz, looked for as in nasbench101.py. All cells are one graph with other operators, so that the encoder
has only these to tell them apart.
"""

_base_ = ["nasbench101.py"]

space = dict(type="nasbench201")
