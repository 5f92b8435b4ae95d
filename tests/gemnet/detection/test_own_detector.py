"""A detector of one's own objects: from photos to weights, figures, a report and predictions, in one call."""

import contextlib
import csv
import hashlib
import html
import io
import json
import re
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS

from gemnet.cell import Cell
from gemnet.checkpoints.class_names import checkpoint_classes
from gemnet.checkpoints.reading import read_checkpoint
from gemnet.cli.main import main
from gemnet.core.errors import DataError, UserError
from gemnet.detection.complexity import detector_cost, total
from gemnet.detection.data import Prepared
from gemnet.detection.made import write_made_coco
from gemnet.detection.own_detector import training
from gemnet.detection.own_detector.measures import figures
from gemnet.detection.own_detector.pace import Pace
from gemnet.detection.own_detector.run import detect
from gemnet.detection.own_detector.use import predict_on
from gemnet.openmmlab import engine, precision
from gemnet.openmmlab.engine import load_config

ROOT = Path(__file__).parents[3]
OPTIONS = {"image_size": 64, "batch_size": 4, training.WEIGHTS: None}
EMPTY = (1, 2)
MADE_CLASSES = ("person", "car", "cat")


def digests(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Made photos in COCO's layout, of three classes alone; two have no object."""
    folder = write_made_coco(tmp_path_factory.mktemp("photos"), train=10, val=4, size=(48, 64))
    for file in (folder / "annotations").iterdir():
        content = json.loads(file.read_text())
        content["categories"] = [one for one in content["categories"] if one["name"] in MADE_CLASSES]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] not in EMPTY]
        file.write_text(json.dumps(content))
    return folder


Done = namedtuple("Done", "place result before after errors")


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    """What a training of one epoch leaves, and tells on standard error."""
    place = tmp_path_factory.mktemp("own") / "work"
    before = digests(photos)
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        result = detect(str(photos), str(place), None, 1, options=OPTIONS)
    return Done(place, result, before, digests(photos), errors.getvalue())


def test_what_is_going_on_is_told_without_the_libraries_logs(done):
    lines = done.errors.splitlines()
    assert "coco; 3 classes: person, car, cat" in lines[0]
    assert any(re.fullmatch(r"training on 1 x cpu \(\d+ threads, (float32|bfloat16)\): 1 epochs", line) for line in lines)
    assert any(re.fullmatch(r"0:\d\d of 0:\d\d, epoch 1: validation AP 0\.\d{3}, AP50 0\.\d{3}", line) for line in lines)
    assert "the test: 2 images that training never saw" in lines
    assert "Warning" not in done.errors
    assert "mmengine" not in done.errors
    assert "mmengine - INFO" in (done.place / "train.log").read_text()


def test_a_training_ends_with_a_file_that_runs_anywhere_and_finds_the_same_boxes(done):
    found = done.result["export"]
    assert (done.place / "detector.onnx").stat().st_size == found["bytes"]
    assert (done.place / "run_detector.py").is_file()
    assert found["photos"] == 2
    assert found["boxes"] > 0
    assert found["overlap"] > 0.99
    assert found["score_difference"] <= 1e-3
    told = f"{done.place}/detector.onnx: {found['boxes']:,} boxes on 2 photos as the detector's own; run it anywhere: "
    assert told in done.errors
    assert told in html.unescape((done.place / "report.html").read_text(encoding="utf-8"))


def command(*arguments):
    return [sys.executable, str(ROOT / "tools/detect.py"), *map(str, arguments)]


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_by_the_same_command_and_ends_in_the_same_weights(photos, tmp_path):
    options = ["--epochs", 4, "--image-size", 64, "--batch-size", 2, "--cfg-options", "default_hooks.checkpoint.interval=1"]
    subprocess.run(command(photos, "--work-dir", tmp_path / "whole", *options), check=True)
    stopped = command(photos, "--work-dir", tmp_path / "stopped", *options)
    with subprocess.Popen(stopped) as process:
        while not (tmp_path / "stopped/epoch_2.pth").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert not (tmp_path / "stopped/best.pth").exists()
    subprocess.run(stopped, check=True)
    whole, found = (read_checkpoint(tmp_path / name / "best.pth")["state_dict"] for name in ("whole", "stopped"))
    assert all(torch.equal(value, found[key]) for key, value in whole.items())


@pytest.mark.slow
def test_several_processes_train_a_searched_cell_together(photos, tmp_path):
    cell = tmp_path / "cell.json"
    Cell(("input", "conv1x1", "sepconv3x3"), ((0, 1), (1, 2))).save(cell)
    result = detect(
        str(photos), str(tmp_path / "work"), None, 1, cell=str(cell), options={"image_size": 64, "batch_size": 2}, processes=2
    )
    assert result["plan"]["processes"] == 2
    assert load_config(str(tmp_path / "work/detector.py")).model.backbone.cell == str(cell)
    assert len(result["validation"]) > 0


@pytest.mark.slow
def test_a_training_keeps_its_time_to_a_twentieth(photos, tmp_path):
    start = time.monotonic()
    subprocess.run(command(photos, "--work-dir", tmp_path, "--minutes", 4, "--image-size", 64), check=True)
    assert time.monotonic() - start == pytest.approx(240, rel=0.05)


@pytest.mark.parametrize("name", ["rtmdet_gemnet_a", "rtmdet_gemnet_b", "own_detector_small"])
def test_the_small_detectors_keep_to_2_g_macs_and_7_m_params_at_320_pixels_and_the_page_shows_theirs(name):
    cost = total(detector_cost(load_config(str(ROOT / f"configs/{name}.py")), (320, 320)))
    assert cost.macs <= 2e9
    assert cost.params <= 7e6
    row = f"| `{name}.py` | {cost.params / 1e6:.2f} M | {cost.macs / 1e9:.2f} G |"
    assert row in (ROOT / "docs/own-detector.md").read_text()


def test_the_photos_are_left_as_they_were(done):
    assert done.before == done.after


def test_the_config_that_is_left_tests_on_the_test_photos_and_one_folder_of_logs_is_left(done):
    config = load_config(str(done.place / "detector.py"))
    files = {split: Path(config[f"{split}_dataloader"].dataset.ann_file) for split in ("train", "val", "test")}
    assert files == {split: done.place / f"data/{split}.json" for split in files}
    assert len([path for path in done.place.iterdir() if path.is_dir() and path.name != "data"]) == 1


def test_two_runs_of_a_process_write_their_curves_to_their_own_folders(done, tmp_path):
    for name in ("one", "two"):
        config = load_config(str(done.place / "detector.py"), work_dir=str(tmp_path / name))
        engine.build_runner(config).visualizer.add_scalars({"AP": 0.5}, step=1)
    files = sorted(tmp_path.glob("*/*/vis_data/scalars.json"))
    assert [(file.parents[2].name, json.loads(file.read_text())["AP"]) for file in files] == [("one", 0.5), ("two", 0.5)]


def test_photos_without_an_object_are_trained_on(done):
    config = load_config(str(done.place / "detector.py"))
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) == done.result["images"]["train"]
    empty = [index for index in range(len(dataset)) if not dataset.get_data_info(index)["instances"]]
    assert empty
    assert all(dataset[index]["data_samples"].img_path == dataset.get_data_info(index)["img_path"] for index in empty)


def test_the_figures_are_pycocotools_of_the_predictions_on_the_test_images(done):
    content = json.loads((done.place / "data/test.json").read_text())
    found = json.loads((done.place / "test.bbox.json").read_text())
    assert {one["image_id"] for one in found} <= {image["id"] for image in content["images"]}
    measured = figures(content, found)
    assert (done.result["AP"], done.result["AP50"]) == (measured.ap, measured.ap50)
    assert list(done.result["classes"]) == list(MADE_CLASSES)
    assert json.loads((done.place / "result.json").read_text()) == done.result
    splits = [{image["file_name"] for image in json.loads((done.place / f"data/{split}.json").read_text())["images"]}
              for split in ("train", "val", "test")]  # fmt: skip
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_the_weights_know_the_names_of_their_classes_and_the_config_stands_beside_them(done):
    assert checkpoint_classes(done.place / "best.pth").classes == MADE_CLASSES
    config = load_config(str(done.place / "detector.py"))
    assert config.model.bbox_head.num_classes == 3
    assert (config.image_size, config.batch_size) == ([64, 64], 4)


def test_the_report_holds_figures_verdict_curves_and_photos_and_asks_the_network_for_nothing(done):
    page = (done.place / "report.html").read_text()
    assert all(heading in page for heading in ("Verdict", "A class at a time", "What is taken for what", "The training"))
    assert done.result["verdict"][0]["says"] in page
    assert page.count("data:image/jpeg;base64,") == done.result["images"]["test"]
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=["']?https?:""", page)


def test_the_same_command_again_trains_nothing_and_another_one_is_refused(photos, done, capsys):
    before = digests(done.place)
    assert detect(str(photos), str(done.place), None, 1, options=OPTIONS) == done.result
    assert "finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"training with other settings \(epochs 1, now 2\); name another .* --work-dir"):
        detect(str(photos), str(done.place), None, 2, options=OPTIONS)
    assert digests(done.place) == before


def test_what_was_stopped_before_the_test_is_tested_without_training_again(photos, done, monkeypatch):
    (done.place / "result.json").unlink()
    weights = (done.place / "best.pth").read_bytes()
    again = detect(str(photos), str(done.place), None, 1, options=OPTIONS)
    assert (done.place / "best.pth").read_bytes() == weights
    assert again["AP"] == done.result["AP"]
    assert again["confusions"] == done.result["confusions"]


def test_predictions_are_pictures_json_cocos_json_and_csv_of_the_same_objects(photos, done, tmp_path):
    assert predict_on(str(done.place), [str(photos / "val2017")], str(tmp_path), 0.0) == 0
    records = json.loads((tmp_path / "predictions.json").read_text())
    objects = [(record["image"], one["class"], one["score"], *one["box"]) for record in records for one in record["objects"]]
    assert len(records) == len(list(tmp_path.glob("*.jpg"))) == 4
    assert objects
    with open(tmp_path / "predictions.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["image", "class", "score", "x", "y", "width", "height"]
    assert [(*row[:2], *map(float, row[2:])) for row in rows] == objects
    coco = json.loads((tmp_path / "predictions.coco.json").read_text())
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    names = {one["id"]: one["name"] for one in coco["categories"]}
    assert tuple(names.values()) == MADE_CLASSES
    assert [(files[one["image_id"]], names[one["category_id"]], one["score"], *one["bbox"])
            for one in coco["annotations"]] == objects  # fmt: skip


def test_predicting_needs_a_finished_training(tmp_path):
    with pytest.raises(DataError, match=r"has no detector\.py; expected the work directory of a finished gemnet detect"):
        predict_on(str(tmp_path), ["photo.jpg"], str(tmp_path / "out"))


CONTENT = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 40], "area": 1600, "iscrowd": 0}],
}


MINE = {"type": "Pretrained", "checkpoint": "mine.pth"}


def prepared_of(folder):
    """A photo of two classes in every split; it is not there."""
    (folder / "train.json").write_text(json.dumps(CONTENT))
    counts = {"train": 1, "val": 1, "test": 1}
    return Prepared("coco", folder, ("cat", "dog"), dict.fromkeys(counts, folder / "train.json"), counts, counts, {}, ())


@pytest.mark.parametrize(
    ("config", "options", "cell", "start"),
    [
        ("own_detector", {}, None, "gemnet://gemnet_a"),
        ("own_detector_small", {}, None, "gemnet://gemnet_a_small"),
        ("own_detector", {training.WEIGHTS: None}, None, None),
        ("own_detector", {training.WEIGHTS: MINE}, None, "mine.pth"),
        ("own_detector", {}, "gemnet_b", None),
    ],
    ids=["those that ship", "the small one's", "none", "one's own", "another cell's"],
)
def test_a_backbone_starts_from_the_weights_that_ship_unless_it_is_told_otherwise(
    config, options, cell, start, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "measure_pace", lambda *_: Pace(1.0, 0.1))
    plan = training.planned(prepared_of(tmp_path), tmp_path, f"gemnet::{config}.py", None, 1, 0, cell, options, 1)
    assert plan["weights"] == (None if options else start)
    settled = load_config(str(tmp_path / training.CONFIG)).model.backbone.get("init_cfg")
    assert settled == (start and {"type": "Pretrained", "checkpoint": start})


@pytest.mark.parametrize(
    ("hardware", "options", "wrapper", "told"),
    [
        (True, {}, precision.BFLOAT16, "bfloat16"),
        (False, {}, precision.FLOAT32, "float32"),
        (None, {}, precision.FLOAT32, "float32"),
        (True, {precision.OPTION: precision.FLOAT32}, precision.FLOAT32, "float32"),
        (False, {precision.OPTION: precision.BFLOAT16}, precision.BFLOAT16, "bfloat16"),
    ],
    ids=["a CPU with bfloat16", "one without", "one that tells nothing", "not wanted", "wanted"],
)
def test_a_cpu_with_bfloat16_computes_in_it_unless_it_is_told_otherwise(
    hardware, options, wrapper, told, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "measure_pace", lambda *_: Pace(1.0, 0.1))
    monkeypatch.setattr(precision, "has_bfloat16", lambda: hardware)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = training.planned(prepared_of(tmp_path), tmp_path, "gemnet::own_detector.py", None, 1, 0, None, options, 1)
    assert plan["precision"] == told
    assert load_config(str(tmp_path / training.CONFIG)).optim_wrapper.type == wrapper


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--no-amp"], {precision.OPTION: precision.FLOAT32}),
        (["--from-scratch", "--image-size", "64"], {training.WEIGHTS: None, "image_size": 64}),
        (["--patience", "0", "--cfg-options", "batch_size=2"], {"train_cfg.patience": 0, "batch_size": 2}),
    ],
)
def test_arguments_become_options_of_the_config(arguments, options, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("gemnet.detection.own_detector.run.detect", lambda *_, **given: calls.append(given["options"]))
    assert main(["detect", "photos", "--work-dir", str(tmp_path), *arguments]) == 0
    assert calls == [options]


@pytest.mark.parametrize(("slow", "chosen_threads"), [(4, 1), (1, 4)], ids=["busy cores", "free cores"])
def test_as_many_threads_train_as_are_fastest(slow, chosen_threads, tmp_path, monkeypatch):
    prepared, used = prepared_of(tmp_path), [4]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1])
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(training, "measure_pace", lambda *_: Pace(2.0 if used[-1] == slow else 1.0, 0.1))
    plan = training.planned(prepared, tmp_path, "gemnet::own_detector.py", 60.0, None, 0, None, {}, 1)
    assert plan["threads"] == chosen_threads
    assert plan["pace"]["training"] == 1.0
    assert training.planned(prepared, tmp_path, "gemnet::own_detector.py", 60.0, None, 0, None, {}, 1) == plan
