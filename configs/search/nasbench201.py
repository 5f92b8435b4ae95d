"""The search on NAS-Bench-201 (Dong and Yang, ICLR 2020), CIFAR-10: 150 of 15,625 trained cells are looked up, in seconds.

The table is nasbench201.npz, looked for as in nasbench101_nasgem.py. All cells are one graph with other operators, of which
`none` is a missing edge and `skip_connect` a bare one.
"""

_base_ = ["nasbench101.py"]

space = dict(type="nasbench201")
encoder = dict(dropped=["none"], identities=["skip_connect"])
