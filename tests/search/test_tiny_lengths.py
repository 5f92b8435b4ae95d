"""The shortest lengths that are allowed work: no schedule divides by zero, no part of a tiny set is empty."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import run

from search.configuration.schedule import Schedule
from search.core.layers import one_cycle
from search.core.types import Job
from search.encoders import build_encoder
from search.evaluation.data import ProxyData
from search.evaluation.proxy import ProxyEvaluator, ProxySettings
from search.predictors import build_predictor
from search.predictors.cross_validation import cross_validated_predictions
from search.spaces.dag import DagSpace, prune

pytestmark = pytest.mark.filterwarnings("error")
SPACE = DagSpace(5)
CELLS = prune(SPACE.sample(np.random.default_rng(0), 12))
SCORES = np.random.default_rng(1).normal(size=12)


@pytest.mark.parametrize("steps", range(1, 32))
def test_a_one_cycle_schedule_of_any_length_rises_and_falls_within_its_peak(steps: int) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule, rates = one_cycle(optimizer, 1.0, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert all(0 < rate <= 1 for rate in rates)
    assert steps == 1 or max(rates) > (0.9 if steps > 10 else 0.5)  # the peak may lie between two of a few steps
    assert steps == 1 or rates[-1] < 1e-3


@pytest.mark.parametrize("iterations", [1, 9, 10, 11])
@pytest.mark.parametrize(
    ("kind", "settings"), [("autoencoder", {}), ("kernel_guided", {"h": 0}), ("guided_counts", {"sample": 2})]
)
def test_an_encoder_trains_for_as_few_steps_as_one_likes(kind: str, settings: dict[str, Any], iterations: int) -> None:
    encoder = build_encoder(kind, SPACE, iterations=iterations, batch=1, dim=1, hidden=[], **settings)
    figures = encoder.fit(0)
    assert np.isfinite([*figures.values(), *encoder.embed(CELLS).ravel()]).all()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("landmarks", {"dim": 1, "landmarks": 1, "h": 0}),
        ("statistics", {"sample": 2}),
        ("svge", {"epochs": 1, "cells": 1, "batch": 5, "state": 2, "dim": 1, "layers": 1, "schedule": "cosine"}),
        ("svge", {"epochs": 1, "cells": 3, "batch": 2, "state": 2, "dim": 1, "layers": 1, "optimizer": "muon", "patience": 1}),
    ],
)
def test_the_least_of_other_encoders_settings_do(kind: str, settings: dict[str, Any]) -> None:
    encoder = build_encoder(kind, SPACE, **settings)
    encoder.fit(0)
    assert np.isfinite(encoder.embed(CELLS)).all()


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize(
    "settings",
    [
        {"type": "mlp", "steps": 1, "mode": "finetune"},
        {"type": "ensemble", "trees": 2, "subset": 2},
        {"type": "bagged", "members": 2, "predictor": {"type": "ensemble", "trees": 2, "subset": 2}},
        {"type": "graph_ensemble", "trees": 2, "subset": 2, "networks": 1, "width": 2, "layers": 1, "epochs": 1},
        {"type": "graph_ensemble", "trees": 2, "subset": 2, "networks": 1, "width": 2, "layers": 1, "epochs": 10},
    ],
    ids=lambda settings: "-".join(map(str, settings.values()))[:30],
)
def test_a_predictor_learns_of_as_few_cells_as_a_search_has(settings: dict[str, Any], count: int) -> None:
    encoder = build_encoder("statistics", SPACE, sample=12)
    encoder.fit(0)
    x = encoder.encode(CELLS)
    predictor = build_predictor(**settings)
    for seed in range(2):
        predictor.fit(x[:count], SCORES[:count], seed)
        assert np.isfinite(predictor.predict(x)).all()
    if count == 3:
        build = partial(build_predictor, **settings)
        assert np.isfinite(cross_validated_predictions(build, x[:3], SCORES[:3], 0, folds=50)).all()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 500}, {"batch_size": 2, "warmup": 0.999999}, {"batch_size": 2, "warmup": 0.0, "stem_stride": 2}],
)
def test_a_proxy_network_trains_on_as_few_and_as_small_images_as_there_are(size: int, settings: dict[str, Any]) -> None:
    for count in (2, 5):  # fewer than a batch, and a rest
        images = torch.randint(255, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(count) % 2
        data = ProxyData("made", ("a", "b"), images, labels, images, labels)
        evaluator = ProxyEvaluator(data, ProxySettings(width=1, stem_width=1, epochs=1, shift=0, **settings))
        (accuracy,) = evaluator.evaluate(Job(0, SPACE.to_cells(CELLS)[0].pruned(), 0)).curve
        assert 0 <= accuracy <= 1


def test_the_shortest_search_ends(tmp_path: Path) -> None:
    schedule = Schedule(start=3, rounds=2, batch=1, draws=1, folds=2, stop_from=1.0, measured_weight=0.0, top=1)
    records = run(tmp_path, schedule=schedule)
    assert 3 <= len(records) <= 5
    assert all(r.state == "done" for r in records)
