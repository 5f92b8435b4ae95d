"""A cell for one's own detector: searched by crops of its photos, compared with GEMNet-A's, and trained as the detector."""

from __future__ import annotations

import html
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from fresh import run_code
from made_detection import photos, truth, write_coco

from gemnet.cell import Cell
from gemnet.cli.main import main
from gemnet.core.errors import UserError
from gemnet.core.extras import EXTRAS
from gemnet.detection.complexity import detector_cost, total
from gemnet.openmmlab import engine
from search.configuration.settings import load_settings
from search.core.types import SearchError
from search.own_detector.comparison import Comparison, Trained
from search.own_detector.stage import FoundCell, found_cell
from search.record.ranking import best_first
from search.record.study import DONE, PENDING, read_study
from search.spaces.dag import build_space

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs/search/own_detector.py"
TINY = {
    "search.start": 4, "search.rounds": 0, "search.top": 2, "space.num_nodes": 6, "proxy.epochs": 1, "proxy.macs": 1e6,
    "data.size": 24, "data.train_per_class": 4, "data.val_per_class": 2, "executor.workers": 1,
}  # fmt: skip
TRAINING = {
    "config": "gemnet::own_detector.py", "minutes": None, "epochs": 1, "seed": 0,
    "options": {"image_size": 64, "batch_size": 4}, "processes": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    boxes = truth(20)
    photos(root, boxes)
    write_coco(root / "labels.json", boxes)
    return root


def search(folder: Path, work_dir: Path, minutes: float | None = None, finalists: int = 0, **changes: object) -> FoundCell:
    return found_cell(str(folder), str(work_dir), minutes, finalists, None, TRAINING, {**TINY, **changes})


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FoundCell]:
    work_dir = tmp_path_factory.mktemp("work")
    return work_dir, search(folder, work_dir)


def test_a_search_leaves_the_cell_its_record_and_the_comparison_with_gemnet_as(found):
    work_dir, cell = found
    choice = json.loads((work_dir / "search/choice.json").read_text())
    records = read_study(work_dir / "search").records
    chosen = Cell.load(cell.path)
    assert {"best_cell.json", "report.html", "study.sqlite", "cell.json"} <= set(os.listdir(work_dir / "search"))
    assert chosen.digest() in {r.cell.pruned().digest() for r in records}
    assert choice["candidates"] == len(records) == 4
    assert choice["found"]["cell"] == chosen.digest()[:8]
    assert choice["gemnet_a"]["cell"] == Cell.shipped("gemnet_a").digest()[:8]
    assert [len(choice[name]["accuracies"]) for name in ("found", "gemnet_a")] == [3, 3]
    rows = [json.loads(line) for line in (work_dir / "search/comparison/trainings.jsonl").read_text().splitlines()]
    scores = {}
    for r in best_first(records)[:3]:
        name = r.cell.pruned().digest()[:8]
        accuracies = [row["accuracy"] for row in rows if row["name"].startswith(name)]
        assert len(accuracies) == 3
        scores[name] = np.mean(accuracies) - 0.05 * np.log10(r.cost)
    assert choice["found"]["score"] == pytest.approx(max(scores.values()))
    assert choice["found"]["score"] == pytest.approx(scores[choice["found"]["cell"]])
    (sentence,) = cell.sentences
    assert f"cell {chosen.digest()[:8]} of {len(chosen.nodes) - 1} node" in sentence.evidence
    assert f"difference {choice['difference']:+.4f}" in sentence.evidence


def test_the_search_alone_ends_with_a_cell_for_a_detector(folder, tmp_path):
    options = [f"{key}={value}" for key, value in TINY.items()]
    given = ["--cfg-options", f"data.root={folder}", *options]
    assert main(["search", "own_detector", "--work-dir", str(tmp_path), *given]) == 0
    provenance = Cell.load(tmp_path / "best_cell.json").provenance
    assert provenance["data"]["type"] == "box_crops"
    assert provenance["cost_settings"] == {"type": "activations"}


def test_the_same_command_finds_what_is_there_and_trains_nothing(found, folder, monkeypatch):
    work_dir, cell = found
    monkeypatch.setattr("search.own_detector.stage.evaluator_of", lambda *_: pytest.fail("it reads the images again"))
    assert search(folder, work_dir) == cell


def test_a_stopped_search_goes_on_and_ends_in_the_same_cell(found, folder, tmp_path, monkeypatch):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for function in ("run_search", "write_report", "with_provenance"):
        with monkeypatch.context() as patch:
            patch.setattr(f"search.own_detector.stage.{function}", stopped)
            with pytest.raises(KeyboardInterrupt):
                search(folder, tmp_path)
    _, cell = found
    again = search(folder, tmp_path)
    assert again.sentences == cell.sentences
    assert Cell.load(again.path) == Cell.load(cell.path)


def test_another_command_in_the_same_directory_is_refused_with_what_differs(found, folder):
    work_dir, _ = found
    with pytest.raises(
        UserError, match=r"has a search with other settings \(finalists 0, now 2, config None, now .*--work-dir"
    ):
        search(folder, work_dir, finalists=2)


def test_a_training_without_a_search_is_not_given_one_afterwards(folder, tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="has a training without a search; name another directory with --work-dir"):
        search(folder, tmp_path)


def test_data_and_settings_that_do_not_do_leave_nothing_that_refuses_the_next_try(folder, tmp_path):
    with pytest.raises(SearchError, match=r"lower data\.min_side"):
        search(folder, tmp_path, **{"data.min_side": 90})
    with pytest.raises(SearchError, match="unknown setting 'sizes'"):
        search(folder, tmp_path, **{"data.sizes": 3})
    assert not (tmp_path / "search/plan.json").exists()


def test_a_damaged_choice_is_named(found, folder, tmp_path):
    work_dir, _ = found
    for name in ("plan.json", "choice.json", "cell.json"):
        (tmp_path / "search").mkdir(exist_ok=True)
        (tmp_path / "search" / name).write_bytes((work_dir / "search" / name).read_bytes())
    (tmp_path / "search/choice.json").write_text('{"sentences": [{"says": "much"}]}')
    with pytest.raises(SearchError, match=r"choice\.json: not what a search left .*; remove it to choose anew"):
        search(folder, tmp_path)


def test_a_search_within_minutes_evaluates_what_they_allow_and_ends_with_what_there_is(folder, tmp_path):
    search(folder, tmp_path, minutes=0.001)
    plan = json.loads((tmp_path / "search/plan.json").read_text())
    assert plan["search"]["start"] + plan["search"]["rounds"] * plan["search"]["batch"] == 8
    assert json.loads((tmp_path / "search/choice.json").read_text())["candidates"] == 1
    states = [r.state for r in read_study(tmp_path / "search").records]
    assert (states.count(DONE), states.count(PENDING)) == (1, plan["search"]["start"] - 1)


def trained(*accuracies: float, name: str = "gemnet_b", cost: float = 0.1) -> Trained:
    return Trained(Cell.shipped(name), cost, 1.0, accuracies, 0.05)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (trained(0.95, 0.951, 0.952), "The search found a cell that is better than GEMNet-A's on crops of these photos."),
        (trained(0.90, 0.93, 0.915), "The search found no cell that is better than GEMNet-A's beyond the noise."),
        (trained(0.91, 0.91, 0.91), "The search found no cell that is better than GEMNet-A's beyond the noise."),
        (trained(0.85, 0.851, 0.852), "GEMNet-A's cell is better on crops of these photos than the best one"),
        (trained(0.95, 0.951, 0.952, name="gemnet_a"), "The best cell that the search found is GEMNet-A's own."),
        (trained(0.95, 0.951, 0.952, cost=1.0), "The search found no cell that is better than GEMNet-A's beyond the noise."),
    ],
    ids=["better", "noise", "equal", "worse", "itself", "better but dearer"],
)
def test_what_the_difference_means_is_said_with_its_spread(found, says):
    reference = trained(0.90, 0.91, 0.92, name="gemnet_a")
    comparison = Comparison(found, reference)
    assert comparison.judgement().startswith(says)
    assert f"GEMNet-A's score {reference.score:.4f} ± 0.0100 (accuracy 0.9100, cost 0.1)" in comparison.evidence()
    assert f"p = {comparison.probability:.2g} by Welch's t-test" in comparison.evidence()


def test_trainings_that_never_differ_are_no_noise():
    same, better = trained(0.9, 0.9, 0.9, name="gemnet_a"), trained(0.95, 0.95, 0.95)
    assert Comparison(same, same).probability == 1
    assert Comparison(better, same).probability == 0


def test_every_cell_of_the_space_makes_a_detector_within_the_budget(tmp_path):
    settings = load_settings(CONFIG)
    space = build_space(**settings["space"])
    assert settings["space"]["num_nodes"] == 30
    for number, cell in enumerate(space.to_cells(space.sample(np.random.default_rng(1), 2))):
        cell.pruned().save(tmp_path / f"{number}.json")
        backbone = {
            "_delete_": True,
            "type": "gemnet.GEMNet",
            "cell": str(tmp_path / f"{number}.json"),
            "out_indices": (2, 3, 4),
        }
        config = engine.load_config("gemnet::own_detector.py", None, str(tmp_path))
        engine.merge(config, {"model.backbone": {**backbone, **settings["model"]}, "model.neck.in_channels": None})
        cost = total(detector_cost(config, (320, 320)))
        assert cost.macs <= 2e9
        assert cost.params <= 7e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "--cell", "mine.json"], "--search: give no --cell"),
        (["--search", "--pretrained", "mine.pth"], "and no --pretrained"),
        (["--finalists", "2"], "--search-minutes, --finalists and --search-options are of --search"),
        (["--search", "--search-minutes", "0"], "argument --search-minutes: expected a number above 0, found '0'"),
    ],
)
def test_options_that_do_not_go_together_are_told(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["detect", "photos", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_a_search_whose_extra_is_missing_names_it_in_one_line(tmp_path):
    hidden = sorted(set(EXTRAS["search"]) - set(EXTRAS["detection"]))
    code = f"""
import sys
for name in {hidden}: sys.modules[name] = None
from gemnet.cli.main import main
sys.exit(main(["detect", "photos", "--search"]))
"""
    result = run_code(code, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith('install what this needs with: pip install "gemnet[search]"')
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_command_searches_chooses_among_finalists_trains_measures_and_goes_on(folder, tmp_path, capsys):
    options = [f"{key}={value}" for key, value in TINY.items()]
    command = [
        "detect", str(folder), "--work-dir", str(tmp_path), "--search", "--finalists", "2", "--epochs", "1", "--image-size",
        "64", "--batch-size", "4", "--processes", "1", "--search-options", *options,
    ]  # fmt: skip
    assert main(command) == 0
    choice = json.loads((tmp_path / "search/choice.json").read_text())
    result = json.loads((tmp_path / "result.json").read_text())
    aps = [one["AP"] for one in choice["finalists"]]
    assert len(aps) == 2
    assert aps == sorted(aps, reverse=True)
    assert choice["found"]["cell"] == choice["finalists"][0]["cell"] == Cell.load(tmp_path / "search/cell.json").digest()[:8]
    assert result["plan"]["command"]["cell"] == str(tmp_path / "search/cell.json")
    assert [one for one in result["verdict"] if one["kind"] == "search"] == choice["sentences"]
    assert choice["sentences"][0]["says"] in html.unescape((tmp_path / "report.html").read_text())
    began = time.monotonic()
    assert main(command) == 0
    assert "finished already" in capsys.readouterr().err
    assert time.monotonic() - began < 5
