"""The trial: networks of equal MACs, images apart from the search's, a record that is gone on from, and what the table says."""

import json
import os
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gemnet import library
from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from gemnet.counting import counted
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.json_lines import Store
from search.core.types import SearchError
from search.evaluation.data import build_data
from search.evaluation.trainings import open_trainings
from search.experiments.trial import report as trial_report
from search.experiments.trial.baselines import of_cell, of_library, of_published, randwire_cell
from search.experiments.trial.command import trial_command
from search.experiments.trial.final_data import build_final_data
from search.experiments.trial.recipes import held_out
from search.experiments.trial.trial import Trial, run_trial

ROOT = Path(__file__).parents[4]
MODEL = {"target_macs": 463e6, "target_params": 4.3e6, "residual": True}
CHAIN = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (1, 2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_of_a_cell_has_the_macs_that_are_asked_for_to_5_percent(channels):
    network = of_cell("a", "shipped", CHAIN, MODEL, 4e6, (channels, 16, 16), 7)
    with torch.device("meta"):
        outputs, cost = counted(network.build().eval(), torch.empty(2, channels, 16, 16))
    assert outputs.shape == (2, 7)
    assert cost.macs == 2 * network.cost().macs
    assert 0.95 * 4e6 <= network.cost().macs <= 4e6


@pytest.mark.long
@pytest.mark.parametrize("name", library.SCALABLE)
def test_a_librarys_model_has_the_macs_that_are_asked_for_to_5_percent_and_a_first_stride_of_1(name):
    network = of_library(name, "well-known", 2e6, (1, 16, 16), 7)
    built = network.build().eval()
    assert built(torch.zeros(2, 1, 16, 16)).shape == (2, 7)
    first = next(module for module in built.modules() if isinstance(module, nn.Conv2d))
    assert first(torch.zeros(2, 1, 16, 16)).shape[2:] == (16, 16)
    assert 0.95 * 2e6 <= network.cost().macs <= 2e6
    assert network.cost().params == sum(p.numel() for p in built.parameters())


@pytest.mark.long
@pytest.mark.parametrize("name", ["bayesnas", "randwire"])
def test_a_published_network_has_the_macs_that_are_asked_for_to_5_percent_and_a_first_stride_of_1(name):
    network = of_published(name, "published", 8e6, (1, 32, 32), 7)
    built = network.build().eval()
    assert built(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    first = next(module for module in built.modules() if isinstance(module, nn.Conv2d))
    assert first(torch.zeros(2, 1, 32, 32)).shape[2:] == (32, 32)
    assert 0.95 * 8e6 <= network.cost().macs <= 8e6
    assert network.family == network.identity["published"] == name
    if name == "randwire":
        with pytest.raises(BudgetError, match=r"randwire: no number of channels has 0\.001 M MACs"):
            of_published(name, "published", 1e3, (1, 32, 32), 7)


@pytest.fixture
def made_library(monkeypatch):
    """A network that is built in no time in the place of the known ones, which take most of the time."""

    def network(width, classes):
        channels = round(256 * width)
        body = nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

    for name in list(library.SCALABLE):
        monkeypatch.delitem(library.SCALABLE, name)
    monkeypatch.setitem(library.SCALABLE, "made/network", network)


def test_a_budget_that_no_width_meets_is_told(made_library):
    with pytest.raises(BudgetError, match=r"no width has 0\.001 M MACs on images of 16x16 pixels within 5%; the narrowest has"):
        of_library("made/network", "well-known", 1e3, (3, 16, 16), 10)
    with pytest.raises(BudgetError, match=r"chain: no network of this cell has 0\.001 M MACs"):
        of_cell("chain", "shipped", CHAIN, MODEL, 1e3, (3, 16, 16), 10)


def test_a_randwire_cell_is_networkxs_graph_in_the_order_of_its_nodes():
    cell = randwire_cell(seed=3)
    drawn = networkx.connected_watts_strogatz_graph(29, 4, 0.75, seed=3)
    graph = cell.to_networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert len(cell.nodes) == len(cell.live_nodes) == 30
    assert {name for name in cell.nodes[1:]} == {"sepconv3x3"}
    inner = graph.subgraph(range(1, 30))
    assert {frozenset((u - 1, v - 1)) for u, v in inner.edges} == {frozenset(edge) for edge in drawn.edges}
    assert {v for _, v in graph.out_edges(0)} == {v for v in inner if inner.in_degree(v) == 0}
    assert randwire_cell(seed=4) != cell


def test_the_digits_test_images_are_none_that_the_search_has_seen():
    settings = {"type": "digits", "train_per_class": 30, "val_per_class": 20, "seed": 1}
    search, final = build_data(**settings), build_final_data(settings, train_per_class=40, test_per_class=50)
    assert torch.bincount(final.train_labels).tolist() == [40] * 10
    assert torch.bincount(final.val_labels).tolist() == [50] * 10
    seen = {image.numpy().tobytes() for images in (search.train_images, search.val_images) for image in images}
    assert {image.numpy().tobytes() for image in final.train_images} <= seen
    assert not {image.numpy().tobytes() for image in final.val_images} & seen
    with pytest.raises(SearchError, match=r"none is left to test on; lower data\.train_per_class"):
        build_final_data({**settings, "train_per_class": None})


def test_an_image_folders_test_images_lie_beside_it_or_where_one_says(tmp_path):
    for split, grey in (("train", 10), ("test", 200), ("other", 90)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (8, 8), (grey, i, 0)).save(folder / f"{i}.png")
    settings = {"type": "image_folder", "root": str(tmp_path / "train"), "size": 8, "val_per_class": 1, "train_per_class": 1}
    final = build_final_data(settings, train_per_class=2)
    assert final.train_images.shape == (4, 3, 8, 8)
    assert set(final.train_images[:, 0].flatten().tolist()) == {10}
    assert final.val_images.shape == (6, 3, 8, 8)
    assert set(final.val_images[:, 0].flatten().tolist()) == {200}
    assert build_final_data(settings, test_root=str(tmp_path / "other")).val_images[0, 0, 0, 0] == 90
    (tmp_path / "other/dog").rename(tmp_path / "other/cow")
    with pytest.raises(SearchError, match="differ in the classes cow, dog"):
        build_final_data(settings, test_root=str(tmp_path / "other"))
    with pytest.raises(SearchError, match="train_per_class: expected a whole number from 1, or None, found 0"):
        build_final_data(settings, train_per_class=0)


def test_a_record_that_was_cut_off_keeps_its_whole_lines_and_is_locked(tmp_path):
    record = open_trainings(tmp_path)
    record.add({"id": "a", "accuracy": 0.5})
    with pytest.raises(SearchError, match=f"in use by process {os.getpid()}"):
        open_trainings(tmp_path)
    record.close()
    with record.path.open("ab") as file:
        file.write(b'{"id": "b", "accu')
    record = open_trainings(tmp_path)
    record.add({"id": "c", "accuracy": 0.7})
    record.close()
    assert [json.loads(line)["id"] for line in record.path.read_text().splitlines()] == ["a", "c"]
    record.path.write_text("no JSON\n")
    with pytest.raises(SearchError, match=r"trainings\.jsonl: no record of trainings"):
        open_trainings(tmp_path)


@pytest.fixture
def settings():
    options = {
        "space.num_nodes": 4, "proxy.epochs": 1, "proxy.width": 4, "data.train_per_class": 12, "data.val_per_class": 10,
        "executor.workers": 1, "executor.device": "cpu",
    }  # fmt: skip
    return load_settings(ROOT / "configs/search/digits.py", options)


SMALL = {
    "macs": 4e5, "epochs": 2, "seeds": (0, 1), "candidates": 2, "random": 2, "test_per_class": 20,
    "rivals": ("Watts-Strogatz", "made/network"),
}  # fmt: skip


@pytest.mark.long
def test_a_trial_goes_on_where_it_was_stopped_and_trains_nothing_twice(tmp_path, settings, made_library, monkeypatch):
    real, added = Store.add, []

    def add(self, row):
        if len(added) == 9:
            added.append(None)
            raise KeyboardInterrupt
        added.append(row["id"])
        real(self, row)

    monkeypatch.setattr(Store, "add", add)
    with pytest.raises(KeyboardInterrupt):
        run_trial(settings, Trial(**SMALL), tmp_path, Display(quiet=True))
    found = run_trial(settings, Trial(**SMALL), tmp_path, Display(quiet=True))
    trained = [key for key in added if key]
    assert len(trained) == len(set(trained)) == 7 + 2 * 7  # proxies; without the loser and with the library's, two seeds
    networks = {n["name"]: n for n in found["networks"]}
    kinds = ["shipped"] * 2 + ["best random by the proxy"] + ["random"] * 2 + ["RandWire", "well-known"]
    assert [n["kind"] for n in found["networks"]] == kinds
    assert all(0.95 * 4e5 <= n["macs"] <= 4e5 and n["milliseconds"] > 0 for n in networks.values())
    assert all(0 <= a <= 1 for n in networks.values() for a in n["accuracies"])
    proxies = [json.loads(line) for line in (tmp_path / "trainings.jsonl").read_text().splitlines()][:7]
    candidates = [row["accuracy"] for row in proxies if row["name"].startswith("candidate")]
    assert [n["proxy"] for n in found["networks"] if n["kind"].startswith("best")] == [max(candidates)]
    again = run_trial(settings, Trial(**{**SMALL, "seeds": (1,)}), tmp_path, Display(quiet=True))
    assert len([key for key in added if key]) == 21  # one of the seeds is there already
    assert [n["accuracies"] for n in again["networks"]] == [n["accuracies"][1:] for n in found["networks"]]
    (tmp_path / "elsewhere").mkdir()  # the rows that a trial used are a record to go on from
    (tmp_path / "elsewhere" / "trainings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found["trainings"]))
    copied = run_trial(settings, Trial(**SMALL), tmp_path / "elsewhere", Display(quiet=True))
    assert len([key for key in added if key]) == 21
    assert [n["accuracies"] for n in copied["networks"]] == [n["accuracies"] for n in found["networks"]]
    trial_report.write(found, tmp_path)
    assert {"trial.json", "trial.md", "trial.svg"} <= set(os.listdir(tmp_path))


@pytest.mark.long
def test_trainings_that_fail_are_told_and_the_others_are_kept(tmp_path, settings, made_library):
    trial = Trial(**{**SMALL, "recipe": {"learning_rate": 1e30, "warmup": 0.0}})
    with pytest.raises(SearchError, match=r"14 of 14 trainings failed, the others are kept; the first: .*the loss became"):
        run_trial(settings, trial, tmp_path, Display(quiet=True))
    assert len((tmp_path / "trainings.jsonl").read_text().splitlines()) == 7


TUNED = {**SMALL, "seeds": (0,), "rivals": ("chain", "made/network"), "tune_epochs": 4}


@pytest.mark.long
def test_each_family_has_the_recipe_that_is_best_on_held_out_training_images(tmp_path, settings, made_library):
    trial = Trial(**{**TUNED, "tune": {"learning_rate": (1e-9, 0.3), "weight_decay": (0.0, 1e-4)}})
    found = run_trial(settings, trial, tmp_path, Display(quiet=True))
    record = [json.loads(line) for line in (tmp_path / "trainings.jsonl").read_text().splitlines()]
    tried = {row["name"]: row["accuracy"] for row in record if row["stage"] == "tuning"}
    assert len(tried) == 4 * 4  # choices; two shipped cells, the chain, the library's network
    of_family = {"cells": ["gemnet_a", "gemnet_b", "chain"], "made/network": ["made/network"]}
    for family, names in of_family.items():
        means = {
            (rate, decay): np.mean([tried[f"{name}, learning_rate={rate:g} weight_decay={decay:g}, seed 0"] for name in names])
            for rate in (1e-9, 0.3)
            for decay in (0.0, 1e-4)
        }
        chosen = found["recipes"][family]
        assert means[chosen["learning_rate"], chosen["weight_decay"]] == max(means.values())
        assert chosen["learning_rate"] == 0.3
    assert [row for row in record if row["stage"] == "test"] == [row for row in found["trainings"] if row["stage"] == "test"]
    again = run_trial(settings, trial, tmp_path, Display(quiet=True))
    assert len((tmp_path / "trainings.jsonl").read_text().splitlines()) == len(record)
    assert again["recipes"] == found["recipes"]
    assert "cells: learning_rate 0.3, weight_decay" in trial_report.table_of(found)


def test_held_out_images_are_a_tenth_of_each_class_and_none_is_a_test_image(settings):
    data = build_final_data(settings["data"], test_per_class=20)
    found = held_out(data)
    assert torch.bincount(found.val_labels).tolist() == [n // 10 for n in torch.bincount(data.train_labels).tolist()]

    def rows(images, labels):
        return sorted((label, image.numpy().tobytes()) for image, label in zip(images, labels.tolist()))

    parts = rows(found.train_images, found.train_labels) + rows(found.val_images, found.val_labels)
    assert sorted(parts) == rows(data.train_images, data.train_labels)


@pytest.mark.long
def test_a_call_trains_at_most_what_it_is_asked_to_and_the_next_goes_on(tmp_path, settings, made_library):
    some = Trial(**{**TUNED, "seeds": (0, 1), "most": 3})
    counts = []
    for _ in range(4):
        found = run_trial(settings, some, tmp_path, Display(quiet=True))
        counts.append([len(n["accuracies"]) for n in found["networks"]])
        trial_report.write(found, tmp_path)
    assert "| gemnet_a | shipped |" in (tmp_path / "trial.md").read_text()
    assert counts[:2] == [[1] * 3, [1] * 6]
    assert counts[3] == [2] * 5 + [1] * 2
    assert len(found["networks"]) == 7


@pytest.mark.long
def test_a_converged_trial_goes_on_from_the_record_beside_its_page_on_another_machine(tmp_path, made_library, capsys):
    given = {
        "macs": 4e5, "epochs": 1, "seeds": (0,), "candidates": 2, "rivals": ("chain",), "test_per_class": 20, "tune_epochs": 1,
        "recipe": ["cutout=0"], "tune": ["learning_rate=0.1,0.3"],
    }  # fmt: skip
    options = ["space.num_nodes=4", "proxy.epochs=1", "proxy.width=4", "data.train_per_class=12", "data.val_per_class=10"]
    page = tmp_path / trial_report.CONVERGED.page
    page.parent.mkdir(parents=True)
    page.write_text("\n".join(trial_report.CONVERGED.marks) + "\n")

    def call(machine, most):
        where = {"config": str(ROOT / "configs/search/digits.py"), "work_dir": str(tmp_path / machine)}
        assert not trial_command(
            {**given, "most": most}, converged=True, jobs=1, cfg_options=options, write_to=tmp_path, **where
        )
        lines = (tmp_path / trial_report.CONVERGED.record).read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]

    first = call("one machine", 1)
    second = call("another machine", 2)
    assert second[: len(first)] == first
    assert len(second) == len(set(second)) == len(first) + 2  # neither proxies nor what chose the recipe again
    assert page.read_text().count("| shipped |") == 2
    assert "cells: learning_rate 0." in page.read_text()
    capsys.readouterr()


@pytest.mark.parametrize(("tune", "message"), [({"foo": (1, 2)}, "unknown setting 'foo'"), ({"epochs": (1, 0)}, "epochs")])
def test_a_setting_that_cannot_be_tuned_is_told_before_anything_is_trained(tune, message, tmp_path, settings):
    with pytest.raises(SearchError, match=message):
        run_trial(settings, Trial(tune=tune), tmp_path, Display(quiet=True))
    assert not list(tmp_path.iterdir())


def test_a_rival_that_is_not_known_is_told_with_those_that_are():
    with pytest.raises(
        SearchError, match=r"trial: rivals: 'timm/resnet50' is not offered; expected some of chain, Watts-Strogatz,"
    ):
        Trial(rivals=("timm/resnet50",))


def test_a_budget_that_random_cells_do_not_meet_is_told(tmp_path, settings):
    with pytest.raises(SearchError, match=r"trial: gemnet_a: no network of this cell has .*another budget: --macs"):
        run_trial(settings, Trial(macs=10.0), tmp_path, Display(quiet=True))
    with pytest.raises(SearchError, match=r"trial: seeds: expected each once, found \[0, 0\]"):
        Trial(seeds=(0, 0))


def row(name, kind, proxy, *accuracies):
    return {
        "name": name, "kind": kind, "digest": None, "params": 1_000_000, "macs": 20_000_000, "accuracies": list(accuracies),
        "proxy": proxy, "milliseconds": 1.5, "training_seconds": 60.0,
    }  # fmt: skip


FOUND = {
    "networks": [
        row("gemnet_a", "shipped", 0.6, 0.90, 0.92),
        row("random 1", "random", 0.4, 0.80, 0.82),
        row("random 2", "random", 0.5, 0.84, 0.84),
        row("random 3", "random", 0.3, 0.85, 0.89),
        row("timm/mobilenetv2_100", "well-known", None, 0.7, 0.7),
    ],
    "trainings": [{"id": "1", "stage": "proxy", "accuracy": 0.6}, {"id": "2", "stage": "test", "accuracy": 0.9}],
    "settings": {"data": {"type": "cifar10"}},
    "trial": {"epochs": 9, "seeds": [0, 1], "candidates": 20},
    "images": {"train": 100, "test": 50, "size": 32},
    "machine": "a machine",
    "versions": {"torch": "2"},
    "date": "2026-01-01",
}


def test_cells_are_told_in_deviations_of_the_random_cells_and_the_proxy_by_its_rank_correlation():
    means = np.array([0.81, 0.84, 0.87])
    assert trial_report.ahead(FOUND["networks"])["gemnet_a"] == pytest.approx((0.91 - 0.84) / means.std(ddof=1))
    found = trial_report.correlation(FOUND["networks"])
    # by hand: proxies .6 .4 .5 .3, test .91 .81 .84 .87: 4 of 6 pairs agree; squared differences of ranks sum to 6
    assert found == {"kendall": pytest.approx((4 - 2) / 6), "spearman": pytest.approx(1 - 6 * 6 / (4 * 15)), "n": 4}
    table = trial_report.table(FOUND)
    assert "| gemnet_a | shipped | 1.000 | 20.00 | 91.00 ± 1.41 | +2.33 | 60.00 | 1.50 |" in table
    assert table.index("random 3") < table.index("random 2") < table.index("random 1")
    assert "n = 4 cells, too few to say much (fewer than 12)" in table


def test_a_converged_trials_table_tells_by_how_much_the_best_shipped_cell_is_ahead():
    trial = {**FOUND, "trial": {**FOUND["trial"], "tune": {"learning_rate": [0.1, 0.2]}}}
    trial["recipes"] = {"cells": {"learning_rate": 0.2}, "timm/mobilenetv2_100": {"learning_rate": 0.1}}
    trial["networks"] = [*FOUND["networks"], row("Watts-Strogatz", "RandWire", None, 0.93)]
    table = trial_report.table_of(trial)
    assert "| gemnet_a ahead by, % ± standard error |" in table
    assert "| Watts-Strogatz | RandWire | 1.000 | 20.00 | 93.00 | 1 | -2.00 | 1.50 |" in table
    # by hand: deviations of .0141 and .0283 of two seeds each, errors .01 and .02
    assert "| random 3 | random | 1.000 | 20.00 | 87.00 ± 2.83 | 2 | 4.00 ± 2.24 | 1.50 |" in table
    assert "| gemnet_a | shipped | 1.000 | 20.00 | 91.00 ± 1.41 | 2 |  | 1.50 |" in table
    assert "Chosen on held-out training images: cells: learning_rate 0.2; timm/mobilenetv2_100: learning_rate 0.1." in table


def test_the_docs_are_renewed_whole(tmp_path):
    (tmp_path / trial_report.PAGE).parent.mkdir(parents=True)
    page = tmp_path / trial_report.PAGE
    page.write_text((ROOT / trial_report.PAGE).read_text())
    trial_report.write_docs(tmp_path, FOUND)
    assert trial_report.table(FOUND) in page.read_text()
    data = json.loads((tmp_path / trial_report.DATA).read_text())
    record = [json.loads(line) for line in (tmp_path / trial_report.RECORD).read_text().splitlines()]
    assert data | {"trainings": record} == FOUND
    assert "trainings" not in data
    assert (tmp_path / trial_report.GRAPH).read_text(encoding="utf-8").rstrip().endswith("</svg>")
