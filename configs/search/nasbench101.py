"""A search on NAS-Bench-101 for a good cell: 150 queries, in half a minute on a core.

In the place of NASGEM's encoder and predictor an ensemble on counts; it ranks cells by their predicted score and half a
standard deviation more, and at the end it chooses among noisy accuracies with the help of predictors that have not seen them.
docs/results/paper measures it beside NASGEM's search, nasbench101_nasgem.py; everything else is as there.
"""

_base_ = ["nasbench101_nasgem.py"]

encoder = dict(_delete_=True, type="statistics")
predictor = dict(_delete_=True, type="ensemble", trees=100)
search = dict(start=30, rounds=12, batch=10, draws=50_000, ucb_beta=0.5, measured_weight=0.6, folds=15, repeats=5)
