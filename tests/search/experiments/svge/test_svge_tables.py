import csv
import json
import os
import statistics
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import forked_workers
from made_task import made_task

from gemnet.drawing.palette import adaptive_svg
from search.core.display import Display
from search.core.types import CellArrays, SearchError
from search.encoders.svge.graphs import GraphSpace
from search.experiments.svge import measuring, pages, pictures, points, smoothness, tasks
from search.experiments.svge import run as reproduce_svge
from search.experiments.svge.measuring import Training, published
from search.experiments.svge.optimisation import METHODS, Budget, Pool
from search.experiments.svge.prediction import accuracy_process
from search.experiments.svge.results import Results
from search.experiments.svge.tasks import load_task
from search.spaces.benchmark_files import ENVIRONMENT

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def quicker(monkeypatch):
    """A quick run does even less."""
    scale = reproduce_svge.QUICK
    effort = replace(scale.effort, points=20, known=60, inducing=20, fine_tuned=50, tuning=1, pairs=60)
    least = replace(scale, effort=effort, budget=Budget(8, 2, 4, 60), side=5, encoder={"iterations": 10})
    monkeypatch.setattr(reproduce_svge, "QUICK", least)


def test_a_unit_is_worked_once_and_a_line_cut_off_is_dropped(tmp_path):
    path, worked = tmp_path / "results.jsonl", []

    def work():
        worked.append(1)
        return {"value": len(worked)}

    for _ in range(2):
        assert Results(path).unit({"part": "a", "seed": 0}, {"epochs": (1, 2)}, work) == {"value": 1}
    Results(path).unit({"part": "a", "seed": 1}, {}, work)
    with path.open("ab") as file:
        file.write(b'{"key": {"part": "a", "se')
    again = Results(path)
    assert [found["value"] for found in again.values(part="a")] == [1, 2]
    assert again.values(part="a", seed=1) == [{"part": "a", "seed": 1, "value": 2}]
    assert again.unit({"part": "b"}, {}, work) == {"value": 3}
    assert len(Results(path).rows) == 3
    with pytest.raises(SearchError, match=r"with other settings: epochs was \[1, 2\], now 3; use another work directory"):
        again.unit({"part": "a", "seed": 0}, {"epochs": 3}, work)
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(first + "".join(others) + first.replace('"value": 1', '"value": 9'))  # two processes had it at once
    assert [found["value"] for found in Results(path).values()] == [1, 2, 3]
    path.write_text(first + "".join(others) + "[]\n")
    with pytest.raises(SearchError, match=r"results\.jsonl, line 4: expected an object"):
        Results(path)


def test_a_summary_has_means_and_deviations_over_seeds_and_the_published_figures_with_their_source(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    values = {0: 0.25, 1: 0.27, 2: 0.20}
    for seed, value in values.items():
        key = {"space": "enas", "model": "SVGe", "seed": seed}
        results.unit(key | {"part": "gaussian process"}, {}, lambda v=value: {"RMSE": v, "Pearson": 0.9, "Kendall": 0.8})
        results.unit(key | {"part": "training"}, {}, lambda: {"epochs": 3, "seconds an epoch": None})
    found = measuring.summary([results], "enas")
    measured = found["models"]["SVGe"]["gaussian process RMSE"]
    assert measured["values"] == list(values.values())
    assert (measured["mean"], measured["deviation"]) == (
        statistics.fmean(values.values()),
        statistics.stdev(values.values()),
    )
    assert [measuring.Column("", 1, 100).shown(measured, seeds) for seeds in (None, 3, 4)] == [
        "24.0 ± 3.6 (3)", "24.0 ± 3.6", "24.0 ± 3.6 (3)"
    ]  # fmt: skip
    assert "training seconds an epoch" not in found["models"]["SVGe"]
    text = measuring.markdown(found)
    assert "| enas | SVGe | D-VAE, published | PACE, published |" in text
    assert "| Gaussian process: RMSE | 0.2400 ± 0.0361 (3) | 0.38 | 0.2477 |" in text
    assert "PACE: Dong et al., ICML 2022" in text
    assert [row["value"] for row in measuring.rows(found) if row["measure"] == "gaussian process RMSE"] == [
        *values.values(), 0.38, 0.2477
    ]  # fmt: skip
    apart = Results(tmp_path / "other.jsonl")  # a file a training
    key = {"space": "enas", "model": "SVGe", "seed": 4, "part": "gaussian process"}
    apart.unit(key, {}, lambda: {"RMSE": 0.5, "Pearson": 0.1, "Kendall": 0.1})
    measured = measuring.summary([apart, results], "enas")["models"]["SVGe"]["gaussian process RMSE"]
    assert (measured["seeds"], measured["values"]) == ([0, 1, 2, 4], [*values.values(), 0.5])
    assert measuring.summary([results], "nasbench201") == {"space": "nasbench201", "models": {}, "published": []}
    assert all(peer["source"] and set(peer["measures"]) <= set(measuring.COLUMNS) for peer in published())


def test_trainings_measured_before_stay_in_a_summary_until_they_are_measured_anew(tmp_path):
    def summary(number, trainings):
        results = Results(tmp_path / f"{number}.jsonl")
        for model, seed, part, values in trainings:
            results.unit({"space": "enas", "model": model, "seed": seed, "part": part}, {}, lambda v=values: v)
        return measuring.summary([results], "enas")

    plain, other = measuring.MODELS
    kernel = {"R^2": 0.5, "Spearman": 0.7}
    earlier = summary(0, [(plain, seed, "reconstruction", {"share": 0.5 + seed / 10}) for seed in range(3)])
    earlier = measuring.joined(earlier, summary(1, [(plain, 0, "kernel", kernel), (plain, 1, "kernel", kernel)]))
    assert set(earlier["models"][plain]) == {"kernel R^2", "kernel Spearman", "reconstruction share"}
    assert earlier["models"][plain]["reconstruction share"]["seeds"] == [2]
    found = summary(2, [(plain, 1, "reconstruction", {"share": 0.9}), (other, 4, "reconstruction", {"share": 0.8})])
    both = measuring.joined(earlier, found)
    joined = both["models"][plain]["reconstruction share"]
    assert (joined["seeds"], joined["values"], joined["mean"]) == ([1, 2], [0.9, 0.7], pytest.approx(0.8))
    assert joined["deviation"] == pytest.approx(statistics.stdev([0.9, 0.7]))
    assert both["models"][plain]["kernel R^2"]["seeds"] == [0]  # of seed 1 it was of other weights
    assert both["models"][other] == found["models"][other]
    assert list(both["models"][plain]) == ["reconstruction share", "kernel R^2", "kernel Spearman"]  # as in COLUMNS
    assert measuring.joined(found, found) == found
    assert both["published"] == found["published"]


def test_the_way_between_two_cells_is_decoded_and_begins_and_ends_with_them(task, model):
    walk = smoothness.interpolation(model, task, Pool(task, model), accuracy_process(model, task, 0, 50, 1000), seed=1, steps=5)
    assert [row["share"] for row in walk.rows] == [0, 0.25, 0.5, 0.75, 1]
    train = task.known(task.train)
    best = int(train[task.accuracies[train].argmax()])
    assert walk.rows[-1]["kernel with last"] == pytest.approx(1)
    assert walk.rows[0]["kernel with first"] == pytest.approx(1)
    assert walk.rows[-1]["cell"] == task.cell(task.graphs, best).digest()[:8]
    assert walk.rows[-1]["known accuracy"] == task.accuracies[best]
    shown = points.walk_points(walk, task)
    assert shown["cells"][0]["nodes"] == list(task.cell(walk.graphs, 0).nodes)
    keys = [(row["nodes"], row["edges"]) for row in shown["cells"]]
    assert all(one != other for one, other in pairwise(keys))
    figure = pictures.interpolation(json.loads(json.dumps(shown)))
    assert sum(axes.axison or bool(axes.get_title()) for axes in figure.axes) == len(shown["cells"])
    assert "conv3x3" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert task.space.valid(walk.graphs).all()


def test_a_plane_has_a_row_a_point_with_the_accuracy_of_what_is_decoded_there(task, model):
    process = accuracy_process(model, task, 0, 50, 1000)
    rows = smoothness.plane(model, task, Pool(task, model), process, seed=0, side=9)
    assert len({row["predicted accuracy"] for row in rows}) > 40  # not one and the same everywhere
    assert len(rows) == 81
    assert {row["x"] for row in rows} == set(np.linspace(-3, 3, 9))
    known = [row for row in rows if row["known accuracy"] is not None]
    assert len(known) > 8
    assert all(row["valid"] and row["known accuracy"] in task.accuracies for row in known)
    shown = points.plane_points(rows)
    assert shown["predicted accuracy"][2][5] == pytest.approx(rows[2 * 9 + 5]["predicted accuracy"], rel=1e-4)
    assert len(pictures.plane(shown).axes) == 3  # two maps and their scale
    unknown = points.plane_points([{**row, "known accuracy": None} for row in rows])
    assert pictures.plane(unknown).axes[0].get_title() == "predicted accuracy"
    assert len(pictures.plane(unknown).axes) == 2


def test_cosines_of_both_encoders_stand_beside_the_kernel(task, model):
    rows, figures = smoothness.kernel_pairs(model, "SVGe", task, 0, pairs=60, encoder_settings={"iterations": 150, "dim": 8})
    assert len(rows) == 60
    assert set(rows[0]) == {"kernel", "SVGe", "NASGEM"}
    assert set(figures) == {"SVGe", "NASGEM"}
    error = np.mean([(row["NASGEM"] - row["kernel"]) ** 2 for row in rows])
    assert figures["NASGEM"]["similarity MSE"] == pytest.approx(error)
    assert figures["NASGEM"]["R^2"] > figures["SVGe"]["R^2"]
    shown = points.pair_points(rows, figures)
    assert [len(shown["kernel"]), *map(len, shown["cosines"].values())] == [60, 60, 60]
    assert len(pictures.kernel(shown).axes) == 2


@pytest.mark.long
def test_a_run_leaves_tables_and_figures_and_does_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_svge, "load_task", lambda space, data, limit, settings: made_task(epochs=2))
    monkeypatch.setattr(reproduce_svge, "LARGER", {})

    def run(**settings):
        return reproduce_svge.run(
            "made", tmp_path, seeds=(0, 1), quick=True, threads=1, display=Display(quiet=True), **settings
        )

    def records():
        return {path.parent.name: path.read_bytes() for path in tmp_path.rglob(reproduce_svge.RESULTS)}

    run()
    content = records()
    assert len(content) == 1 + 2 * 2  # a training each, and all else
    for name in ("measures.md", "measures.csv", "measures.json", "interpolation.csv", "plane.csv", "kernel.csv"):
        assert (tmp_path / name).stat().st_size > 0
    for name in ("interpolation", "plane", "kernel", "optimisation"):
        assert "</svg>" in (tmp_path / f"{name}.svg").read_text()
    table = (tmp_path / "measures.md").read_text()
    assert "| made | SVGe | SVGe with WL kernel |" in table
    assert table.count("(2)") >= 2 * 11
    models = json.loads((tmp_path / "measures.json").read_text())["models"]
    assert 0 <= models["SVGe"]["prior validity"]["mean"] <= 1
    with (tmp_path / "optimisation.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == set(METHODS)
    before = table
    (tmp_path / "docs/results/svge").mkdir(parents=True)
    page = tmp_path / pages.PAGE
    page.write_text("\n".join(["before", *pages.OVERVIEW_MARKS, *pages.marks("made")]))
    monkeypatch.setattr(pages, "TASKS", {"made": None, "enas": None})
    run(write_to=tmp_path)
    reconstructed = models["SVGe"]["reconstruction share"]
    (line,) = (line for line in page.read_text().splitlines() if line.startswith("| **made, SVGe** |"))
    assert line.split(" | ")[2] == f"{100 * reconstructed['mean']:.2f} ± {100 * reconstructed['deviation']:.2f}"
    assert line.endswith(" | 2 |")
    assert all(f"made_{name}.svg" in page.read_text() for name in pages.FIGURES)
    assert table.strip() in page.read_text()
    assert json.loads((tmp_path / "docs/results/svge/made.json").read_text())["values"]["measures"]["models"] == models
    shown = pages.read_points(tmp_path, "made")
    assert list(shown) == list(pages.FIGURES)
    for name, figure in shown.items():
        drawn = (tmp_path / f"docs/results/svge/made_{name}.svg").read_text()
        assert drawn == (tmp_path / f"{name}.svg").read_text() == adaptive_svg(pictures.DRAWINGS[name](figure))
    assert records() == content
    assert (tmp_path / "measures.md").read_text() == before
    for path in [*tmp_path.glob("*seed1/results.jsonl"), *tmp_path.glob("optimisation*"), *tmp_path.glob("plane*")]:
        path.unlink()
    run(parts=("measures",), models=("SVGe",), write_to=tmp_path)  # a work directory with less: the rest stays as it was
    published = json.loads((tmp_path / "docs/results/svge/made.json").read_text())
    models = published["values"]["measures"]["models"]
    assert {name: models[name]["prior validity"]["seeds"] for name in models} == {name: [0, 1] for name in measuring.MODELS}
    assert list(published["tables"]) == ["measures", "smoothness", "optimisation"]
    assert published["figures"] == list(pages.FIGURES)
    assert all(f"made_{name}.svg" in page.read_text() for name in pages.FIGURES)


def test_the_first_of_the_models_is_the_one_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_svge, "load_task", lambda space, data, limit, settings: made_task(epochs=1))
    other = "SVGe with WL kernel"
    for models in ((other,), (other, "SVGe")):
        reproduce_svge.run("made", tmp_path, ("smoothness",), (0,), models, quick=True, threads=1, display=Display(quiet=True))
        assert [path.parent.name for path in tmp_path.glob("*_seed0/checkpoint.pt")] == ["svge_with_wl_kernel_seed0"]
        assert f"| {other} |" in (tmp_path / "smoothness.md").read_text()


@pytest.mark.parametrize("settings", [{"width": 3}, {"noise": "abc"}])
def test_a_setting_that_svge_does_not_have_is_told_by_name(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(reproduce_svge, "load_task", lambda space, data, limit, settings: made_task(**settings))
    with pytest.raises(SearchError, match=next(iter(settings))):
        reproduce_svge.run("made", tmp_path, ("measures",), settings=settings, display=Display(quiet=True))


def test_missing_images_are_told_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(
        reproduce_svge, "load_task", lambda space, data, limit, settings: replace(made_task(), name="nasbench101")
    )
    with pytest.raises(SearchError, match="nowhere"):
        reproduce_svge.run(
            "nasbench101", tmp_path, config=ROOT / "configs/search/svge_extrapolation_folder.py",
            options={"data.root": "nowhere"}, display=Display(quiet=True),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # processes that give what one gives: test_runner.py
def test_two_processes_measure_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_svge, "load_task", lambda space, data, limit, settings: made_task(epochs=2))

    def run(jobs):
        directory, parts = tmp_path / f"{jobs}", ("measures",)
        reproduce_svge.run(
            "made", directory, parts, (0, 1), ("SVGe",), quick=True, jobs=jobs, threads=1, display=Display(quiet=True)
        )
        models = json.loads((directory / "measures.json").read_text())["models"]["SVGe"]
        return {name: values["values"] for name, values in models.items() if name != "training seconds an epoch"}

    alone = run(1)
    with forked_workers():
        together = run(2)
    assert len(alone["reconstruction share"]) == 2
    assert together == alone


def test_work_has_the_threads_that_were_given_and_leaves_them_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_svge, "load_task", lambda space, data, limit, settings: made_task())
    monkeypatch.setattr(reproduce_svge._Work, "_tell_measures", lambda self: None)
    found, before = [], torch.get_num_threads()
    monkeypatch.setattr(Training, "measure", lambda self: found.append((torch.get_num_threads(), self.threads)))
    for threads in (3, None):
        reproduce_svge.run("made", tmp_path, ("measures",), (0,), ("SVGe",), threads=threads, display=Display(quiet=True))
    cores = len(os.sched_getaffinity(0))
    assert found == [(3, 3), (cores, cores)]
    assert torch.get_num_threads() == before


@pytest.mark.long
def test_extrapolation_records_its_proposals_and_trains_them_once(tmp_path, monkeypatch):
    monkeypatch.setattr(
        reproduce_svge, "load_task", lambda space, data, limit, settings: replace(made_task(epochs=20), name="nasbench101")
    )
    monkeypatch.setitem(reproduce_svge.LARGER, "nasbench101", GraphSpace("larger", made_task().space.types, 5))
    options = {
        "data._delete_": True, "data.type": "digits", "data.train_per_class": 8, "data.val_per_class": 8, "proxy.macs": 1e6,
        "proxy.epochs": 2,
    }  # fmt: skip

    def run(**settings):
        return reproduce_svge.run(
            "nasbench101", tmp_path, ("extrapolation",), (0, 1), quick=True,
            config=ROOT / "configs/search/svge_extrapolation.py", options=options | settings, threads=1,
            display=Display(quiet=True),
        )  # fmt: skip

    run()
    with (tmp_path / "extrapolation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["group"] for row in rows) == [
        "4 nodes, most accurate known", "5 nodes, highest predicted", "5 nodes, random"
    ]  # fmt: skip
    assert all(row["seeds"] == "2" and 0 <= float(row["mean accuracy"]) <= 1 for row in rows)
    assert all(7e5 < float(row["MACs"]) <= 1e6 for row in rows)
    assert len(list((tmp_path / "cells").glob("*.json"))) == 3
    content = (tmp_path / reproduce_svge.RESULTS).read_bytes()
    assert content.count(b'"part": "proposals"') == 1
    run()
    assert (tmp_path / reproduce_svge.RESULTS).read_bytes() == content
    with pytest.raises(SearchError, match="with other settings: proxy was"):
        run(**{"proxy.macs": 2e6})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jobs": 0}, "jobs: expected a number from 1, found 0"),
        ({"threads": 0}, "threads: expected a number from 1, found 0"),
        ({"space": "darts"}, "unknown space 'darts'; expected one of enas, nasbench101, nasbench201"),
        ({"parts": ["guess"]}, "unknown part 'guess'"),
        ({"seeds": []}, "seeds: expected different whole numbers"),
        ({"seeds": [1, 1]}, "seeds: expected different whole numbers"),
        ({"models": ["GPT"]}, "unknown model 'GPT'"),
        ({"space": "nasbench201", "parts": ["extrapolation"]}, "nasbench201 has cells of one size"),
        ({"data": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, settings, message):
    with pytest.raises(SearchError, match=message):
        reproduce_svge.run(**{"space": "enas", "work_dir": tmp_path, "display": Display(quiet=True), **settings})


def test_a_graph_outside_its_space_is_told_with_its_row(monkeypatch, task):
    def broken(data):
        graphs = CellArrays(task.graphs.adjacency.copy(), task.graphs.operators.copy())
        graphs.adjacency[7] = False
        return task.space, graphs, task.accuracies, None

    monkeypatch.setitem(tasks.TASKS, "broken", (broken, {}))
    with pytest.raises(SearchError, match="broken: the graph in row 7 is not of the space made"):
        load_task("broken")


@pytest.mark.parametrize(("name", "file"), [("enas", tasks.ENAS_FILE), ("nasbench201", "nasbench201.npz")])
def test_tasks_are_read_split_and_limited(name, file, monkeypatch):
    import os

    folder = Path(os.environ.get(ENVIRONMENT) or ROOT.parent / "shared" / "data")
    if not (folder / file).is_file():
        pytest.skip(f"needs {file}: set {ENVIRONMENT} to the folder that holds it")
    whole, some = load_task(name, folder), load_task(name, folder, limit=50, settings={"epochs": 2})
    assert len(whole.train) + len(whole.test) == len(whole.graphs) == len(whole.accuracies)
    assert len(whole.train) == int(0.9 * len(whole.graphs))
    assert (len(some.train), len(some.test), some.settings["epochs"]) == (45, 5, 2)
    assert np.isfinite(some.accuracies).all()
    assert some.cell(some.graphs, 0).nodes[-1] == "output"
    if some.test_accuracy:
        assert some.test_accuracy().shape == (50,)
