"""What is measured: embeddings and predictors by name with their settings. To add a row to a table, add it here.

Settings are the encoders' and predictors' own defaults, or stand here; they are the same for all numbers of training cells. Who
changes them chooses on seeds from 1000 on (`--first-seed 1000`): what is reported has seeds from 0 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Row:
    """An encoder (`search.encoders.build_encoder`) and a predictor on its vectors (`search.predictors.build_predictor`)."""

    name: str
    encoder: Mapping[str, Any]
    predictor: Mapping[str, Any] = field(default_factory=lambda: {"type": "mlp", "steps": 200})

    def recipe(self, quick: bool) -> dict[str, Any]:
        """As JSON has it; quick: encoders and predictors that are hardly trained, to see that everything runs."""
        encoder, predictor = dict(self.encoder), dict(self.predictor)
        if quick:
            encoder |= QUICK_ENCODERS.get(encoder["type"], {})
            predictor |= QUICK_PREDICTORS.get(predictor["type"], {})
        return {"encoder": encoder, "predictor": predictor}


QUICK_ENCODERS: dict[str, dict[str, Any]] = {
    "autoencoder": {"iterations": 100},
    "kernel_guided": {"iterations": 100},
    "guided_counts": {"iterations": 100, "sample": 1024},
    "svge": {"cells": 128, "epochs": 1},
    "lstm": {"iterations": 50, "score_iterations": 50},
    "gcn": {"iterations": 50},
    "gates": {"epochs": 5},
}
QUICK_PREDICTORS: dict[str, dict[str, Any]] = {
    "mlp": {"steps": 100},
    "ensemble": {"trees": 30},
    "graph_ensemble": {"trees": 30, "networks": 1, "epochs": 3},
}

ADJACENCY = Row("adjacency", {"type": "adjacency"})
AUTOENCODER = Row("MLP autoencoder", {"type": "autoencoder"})
NASGEM = Row("NASGEM", {"type": "kernel_guided"})
SVGE = Row("SVGe", {"type": "svge"})

LSTM = Row("LSTM (NAO)", {"type": "lstm"})
GCN = Row("GCN (NGE)", {"type": "gcn"})
GATES = Row("GATES", {"type": "gates"})
RIVALS = (LSTM, GCN, GATES)
"""The encoders that NASGEM's Table 1 names beside its own, with NASGEM's predictor."""

OWN_RIVALS = (
    replace(LSTM, name="LSTM (NAO), its own predictor", predictor={"type": "own"}),
    GCN,
    replace(GATES, name="GATES, its own predictor", predictor={"type": "own"}),
)
"""The same as their papers have them: NAO and GATES predict themselves."""

CANONICAL = Row("NASGEM, canonical order", {"type": "kernel_guided", "order": "canonical"})
"""The same encoder of cells whose nodes are sorted first: isomorphic cells embed alike."""

GUIDED = Row("NASGEM on counts", {"type": "guided_counts"})
"""NASGEM done anew: the encoder reads counts, and the kernel guides it from behind a head; with NASGEM's predictor."""

HEADLESS = Row(f"{GUIDED.name}, no head", {**GUIDED.encoder, "head": False})
"""The same with the vectors' own cosines to follow the kernel, as in the paper: what the head does."""

UNGUIDED = Row("autoencoder of counts", {**GUIDED.encoder, "similarity_weight": 0.0})
"""The same without the kernel: what its guidance does."""

LANDMARKS = Row("WL landmarks", {"type": "landmarks"})
"""The kernel itself as vectors: inner products with the kernels of 500 cells."""

COUNTS = Row("GEMNet: counts, ensemble", {"type": "statistics"}, {"type": "ensemble", "trees": 100})
"""Counts of what cells are made of, and shares of what flows through them; a Gaussian process and trees on both: seconds."""

GEMNET = Row("GEMNet: counts and graphs", {"type": "statistics", "cells": True}, {"type": "graph_ensemble"})
"""The project's own: graph networks beside the ensemble: minutes."""

COUNTS_AND_CELLS = Row("GEMNet: counts and cells", GEMNET.encoder)
"""Beside NASGEM's encoder, which keeps to the paper: what that predictor can do with the counts and the flattened cell."""

EMBEDDINGS = (ADJACENCY, AUTOENCODER, NASGEM, *RIVALS, LANDMARKS, SVGE, COUNTS_AND_CELLS, UNGUIDED, HEADLESS, GUIDED)
"""Tables 3 and 4: one predictor on different embeddings."""

SURFACE = (ADJACENCY, NASGEM, COUNTS)
"""Fig. 4: without and with the embedding."""

BIAS = (ADJACENCY, NASGEM, *RIVALS, GUIDED, COUNTS)
"""Fig. 5: the same, others' encoders, and guided counts."""

OPERATORS_201 = {"dropped": ["none"], "identities": ["skip_connect"]}
"""What NAS-Bench-201's operators `none` and `skip_connect` are: a missing edge, and a bare one."""

GUIDED_201, GEMNET_201 = (replace(row, encoder={**row.encoder, **OPERATORS_201}) for row in (GUIDED, GEMNET))

PREDICTORS = {
    "nasbench101": (ADJACENCY, AUTOENCODER, NASGEM, *OWN_RIVALS, GUIDED, GEMNET),
    "nasbench201": (ADJACENCY, AUTOENCODER, NASGEM, GUIDED_201, GEMNET_201),
}
"""By benchmark."""

PROTOCOLS = {
    "nasbench101": (ADJACENCY, GUIDED, GEMNET),
    "nasbench201": (ADJACENCY, GUIDED_201, GEMNET_201),
}
"""By benchmark: predictors that are ranked by both protocols."""

NOISE = "validation and test accuracies, each ranked by the other"
"""No predictor: how far apart the two figures of one cell are."""

LABELS = "the validation accuracies themselves"
"""No predictor, but what predictors learn; what one lacks beyond it is noise."""

NASGEM_SEARCH = "NASGEM"


def searches(quick: bool) -> dict[str, dict[str, Any]]:
    """Searches on the tabular pool by name, each with its method (`methods.METHODS`) and the method's settings, which for
    "pipeline" are a config of configs/search and options that replace some of it."""
    nasgem, own, graphs = (QUICK_NASGEM, QUICK_OWN, QUICK_GRAPHS) if quick else ({}, {}, {})
    return {
        "random search": {"method": "random"},
        "regularized evolution": {"method": "evolution", "population": 30, "tournament": 10},
        NASGEM_SEARCH: {"method": "pipeline", "config": "nasbench101_nasgem.py", "options": nasgem},
        COUNTS.name: {"method": "pipeline", "config": "nasbench101.py", "options": own},
        GEMNET.name: {"method": "pipeline", "config": "nasbench101_graphs.py", "options": graphs},
    }


QUICK_NASGEM = {"encoder.iterations": 100, "predictor.steps": 50, "search.draws": 5000}
QUICK_OWN = {"predictor.trees": 30, "search.draws": 5000, "search.repeats": 1}
QUICK_GRAPHS = {**QUICK_OWN, "predictor.epochs": 3, "search.folds": 2}
