"""The default search: scikit-learn's digits, offline, in minutes on any CPU: 40 candidates of 30 nodes."""

_base_ = ["_base_/nasgem.py"]

penalty = 0.02  # a network for 8x8 images has about a million MACs, where 0.1 would count for more than all accuracy
data = dict(type="digits")
search = dict(start=16, rounds=3, batch=8, draws=50_000)
