"""The default search: scikit-learn's digits, offline, on any CPU.

40 candidates of 30 nodes.
"""

_base_ = ["_base_/nasgem.py"]

data = dict(type="digits")
proxy = dict()
search = dict(start=16, rounds=3, batch=8, draws=50_000)
