"""NASGEM's search on NAS-Bench-101 (Ying et al., ICML 2019): 150 of 20,001 trained cells are looked up, in seconds on any CPU.

The table is looked for as nasbench101.npz in the folder GEMNET_DATA, else in data, or where
space.data says; tools/convert_benchmark.py makes it of the benchmark's own file. A candidate's accuracy is its stored
validation accuracy on CIFAR-10. Test accuracies are read once, at the end, to tell how good the cell is that was chosen.
"""

_base_ = ["_base_/nasgem.py"]

space = dict(_delete_=True, type="nasbench101", pool="evaluated")
data = dict()
proxy = dict(type="table")
penalty = 0.0  # accuracy alone, as others report it; above 0, params count in the score
cost = dict(type="params")
encoder = dict(type="kernel_guided", dim=32, hidden=[128], iterations=800)  # 45 features: small is enough
predictor = dict(steps=150)
search = dict(start=50, rounds=4, batch=25, draws=20_000, stop_quantile=0.0)  # 150 queries; nothing is saved by stopping early
executor = dict(workers=1, device="cpu")  # a look-up takes no time
