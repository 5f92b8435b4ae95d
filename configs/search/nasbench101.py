"""The search on NAS-Bench-101 with the project's own encoder and predictor, ahead of NASGEM's there (docs/reproduce).

Everything else is as in nasbench101_nasgem.py.
"""

_base_ = ["nasbench101_nasgem.py"]

encoder = dict(_delete_=True, type="statistics")
predictor = dict(_delete_=True, type="ensemble", trees=100)
