"""The search on NAS-Bench-101 with an ensemble on counts in the place of NASGEM's encoder and predictor.

docs/reproduce compares NASGEM's with a search that asks this ensemble for its uncertainty as well.
Everything else is as in nasbench101_nasgem.py.
"""

_base_ = ["nasbench101_nasgem.py"]

encoder = dict(_delete_=True, type="statistics")
predictor = dict(_delete_=True, type="ensemble", trees=100)
