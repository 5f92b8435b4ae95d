"""The search of nasbench101.py with a graph network beside the ensemble: two and a half minutes on a core.

Of cells that searches evaluate it predicts accuracies that it has not seen better than the ensemble alone (docs/results/paper).
"""

_base_ = ["nasbench101.py"]

encoder = dict(cells=True)  # without effect; so that older searches go on
predictor = dict(type="graph_ensemble", networks=1)
search = dict(folds=10, repeats=3)  # each fold trains a network
