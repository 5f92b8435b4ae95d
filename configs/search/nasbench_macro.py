"""The search on NAS-Bench-Macro (Su et al., CVPR 2021), CIFAR-10: 150 of 3,969 trained networks are looked up.

The table is nasbench_macro.npz, looked for as in nasbench101_nasgem.py. The benchmark has no validation images: a candidate's
accuracy is that of its first training, and the cell that was chosen is scored by the mean of the two others.
"""

_base_ = ["nasbench101.py"]

space = dict(type="nasbench_macro")
