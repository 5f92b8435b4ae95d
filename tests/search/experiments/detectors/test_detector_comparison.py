"""Detectors compared: the budget, the record, the tables, the processes, and what the YOLO's command line is told."""

import json
import math
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from made_detection import CLASSES, photos, truth, write_coco
from onnx import TensorProto, helper

from gemnet.cli.calling import Call
from gemnet.core.errors import DataError, UserError
from gemnet.core.tables import between
from search.cli import detectors as command
from search.core.display import Display
from search.core.types import SearchError
from search.experiments.detectors import goals, pages, record, report, run, tasks, training, yolo
from search.experiments.detectors.budget import Pace, at_tenths, cpu_seconds, epochs_within
from search.experiments.detectors.onnx_cost import onnx_cost

ROOT = Path(__file__).parents[4]
CLASS = {"red": {"ap": 0.25, "ap50": 0.5, "objects": 6}, "blue": {"ap": 0.75, "ap50": 1.0, "objects": 4}}
FAKE = f"""#!{sys.executable}
import json, pathlib, sys, time
if sys.argv[1] == "-c":
    exec(sys.argv[2].replace("'ultralytics'", "'torch'"))
    sys.exit()
script, task, mode, *given = sys.argv[1:]
given = dict(one.split("=", 1) for one in given)
place = pathlib.Path(given["project"]) / given["name"]
place.mkdir(parents=True, exist_ok=True)
(pathlib.Path(__file__).parent / "calls.jsonl").open("a").write(json.dumps([mode, given]) + "\\n")
if mode == "train":
    epochs = int(given["epochs"])
    end = time.process_time() + 0.02 * epochs
    while time.process_time() < end:
        pass
    (place / "weights").mkdir(exist_ok=True)
    (place / "weights" / "best.pt").touch()
    rows = [f"{{epoch}},{{epoch / 100}}" for epoch in range(1, epochs + 1)]
    (place / "results.csv").write_text("\\n".join(["epoch,  metrics/mAP50-95(B)", *rows]) + "\\n")
else:
    data = json.loads(pathlib.Path(given["data"]).read_text())
    images = sorted((pathlib.Path(data["path"]) / data[given["split"]]).iterdir())
    found = [
        {{"image_id": int(one.stem), "category_id": 1, "bbox": [40, 20, 32, 32], "score": 0.5, "file_name": one.name}}
        for one in images
    ]
    (place / "predictions.json").write_text(json.dumps(found))
"""


def row(method="gemnet_a", seed=0, ap=0.5, data="bccd", budget=1800.0, **changes):
    return {
        "data": data, "method": method, "seed": seed, "budget": budget, "AP": ap, "AP50": 0.8, "classes": CLASS, "epochs": 40,
        "images": 8200, "cpu_seconds": budget, "wall_seconds": 4000.0, "validation": [[4.0, 0.1]], "settings": {},
        "split": {"train": 205, "val": 87, "test": 72}, **changes,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A data set with a file for each split."""
    place = tmp_path / "photos"
    for split, count, first in (("train", 12, 0), ("valid", 4, 20), ("test", 4, 30)):
        boxes = truth(count, first)
        photos(place / split, boxes)
        write_coco(place / split / "_annotations.coco.json", boxes)
    return place


@pytest.fixture
def fake_python(tmp_path):
    """An interpreter with the package's command beside it, which writes what the package does, and notes how it is called."""
    place = tmp_path / "yolo" / "bin"
    place.mkdir(parents=True)
    (place / "python").write_text(FAKE)
    (place / "python").chmod(0o755)
    (place / "yolo").touch()
    return place / "python"


@pytest.mark.parametrize(("budget", "epochs"), [(98, 8), (100, 9), (108, 9), (22, 1)])
def test_epochs_come_closest_to_the_budget_with_validations_and_start(budget, epochs):
    assert epochs_within(budget, Pace(epoch=10, validation=1, start=12), lambda epochs: epochs // 4) == epochs


def test_a_budget_that_is_missed_by_one_epoch_or_has_no_end_is_refused():
    with pytest.raises(UserError, match=r"one epoch takes 22 CPU seconds, more than the budget of 5; give more with --budget"):
        epochs_within(5, Pace(10, 0, 12), lambda epochs: 0)
    with pytest.raises(UserError, match=r"enough for 1000001 epochs; give less"):
        epochs_within(1e6, Pace(1, 0), lambda epochs: 0)
    with pytest.raises(UserError, match="expected more than 0"):
        epochs_within(10, Pace(0, 0), lambda epochs: 0)


def test_runs_of_any_length_validate_about_ten_times():
    assert [at_tenths(epochs) for epochs in (1, 7, 40, 96)] == [1, 1, 4, 10]


def test_cpu_seconds_are_those_of_the_process_and_of_its_children():
    start = cpu_seconds()
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert 0.3 <= cpu_seconds() - start < 3


def test_trainings_go_seed_by_seed_then_data_set_by_data_set(tmp_path, monkeypatch):
    for name in ("bccd", "raccoon"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("GEMNET_DATA", str(tmp_path))
    found = tasks.tasks(["bccd", str(tmp_path / "raccoon")], ["gemnet_a", "yolo11n"], [0, 1], 60.0, Path("work"))
    assert [one.name for one in found[:5]] == [
        "gemnet_a on bccd, seed 0", "yolo11n on bccd, seed 0", "gemnet_a on raccoon, seed 0", "yolo11n on raccoon, seed 0",
        "gemnet_a on bccd, seed 1",
    ]  # fmt: skip
    assert len({one.work_dir for one in found}) == len({one.key for one in found}) == 8
    with pytest.raises(DataError, match=r"--data cats: no such folder, and no .*cats; name the folder, or set GEMNET_DATA"):
        tasks.data_folder("cats")


def test_the_record_has_what_was_added_and_refuses_what_is_no_training(tmp_path):
    path = tmp_path / "record.jsonl"
    with record.open_record(path, tmp_path / "work") as store:
        store.add(row(seed=0))
        store.add(row(seed=1, budget=60))
        with pytest.raises(SearchError, match="in use"):
            record.open_record(path, tmp_path / "work")
    assert list(record.open_record(path).rows) == [("bccd", "gemnet_a", 0, 1800.0), ("bccd", "gemnet_a", 1, 60.0)]
    for changes, reason in (({"AP": 1.5}, "AP is 1.5"), ({"epochs": "40"}, "epochs is '40'"), ({"budget": -1}, "budget is -1")):
        path.write_text(json.dumps(row()) + "\n" + json.dumps(row(**changes)) + "\n")
        with pytest.raises(SearchError, match=rf"record\.jsonl, line 2: not a training of this comparison: {reason}"):
            record.open_record(path)


def test_the_table_has_mean_and_deviation_of_the_seeds_that_are_there():
    rows = [row(seed=0, ap=0.5), row(seed=1, ap=0.54), row("ssdlite320", ap=0.3), row(seed=2, budget=60)]
    lines = report.table(rows, 1800).splitlines()
    assert lines[0] == "**bccd**, 1,800 CPU seconds: 205 images to train on, 87 to validate, 72 to test with 10 objects."
    assert lines[2] == "| detector | AP | AP50 | seeds | epochs | CPU seconds | AP red | AP blue |"
    ours, ssd = lines[4:]
    assert " | .520 ± .028 | .800 ± .000 | 0, 1 | 40 | 1,800 | .250 ± .000 | .750 ± .000 |" in ours
    assert " | .300 | .800 | 0 | 40 | 1,800 | .250 | .750 |" in ssd


def test_the_table_tells_each_data_set_and_what_missed_the_budget():
    rows = [row(data="raccoon"), row(cpu_seconds=1911.0, epochs=41), row(seed=1, cpu_seconds=1880.0)]
    found = report.table(rows, 1800)
    assert found.index("**raccoon**, ") < found.index("**bccd**, ")
    assert "| 40 - 41 | 1,880 - 1,911 |" in found
    assert found.endswith("The budget was missed by more than 5% by gemnet_a seed 0 +6%.")
    assert report.tables([row(budget=60), *rows]) == f"{found}\n\n{report.table([row(budget=60)], 60)}"
    assert report.table(rows, 60) == "No training with a budget of 60 CPU seconds is recorded yet."


def test_the_table_of_speed_compares_with_the_yolo():
    def timed(seconds):
        return {"params": 2.5e6, "macs": 1.25e9, "seconds": {"median": seconds, "fastest": seconds / 2, "slowest": 1.0}}

    about = {"rounds": 5, "machine": "a CPU", "onnxruntime": "1", "date": "today"}
    found = report.speed_table({"methods": {"gemnet_a": timed(0.02), "yolo11n": timed(0.03)}, **about}).splitlines()
    assert found[2].endswith("| 2.50 | 1.25 | 50.0 | 1.0 - 100.0 | 1.50 |")
    assert found[3].endswith("| 33.3 | 1.0 - 66.7 | 1.00 |")


def test_the_pages_have_the_tables_of_the_record_and_of_the_speeds():
    rows = list(record.open_record(ROOT / report.RECORD).rows.values())
    for name, around, table in pages.made(ROOT, rows):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert between(around, text, table, name) == text


SPEED = {
    "methods": {
        name: {"params": 1e6, "macs": 1e9, "seconds": {"median": seconds, "fastest": seconds, "slowest": seconds}}
        for name, seconds in (("gemnet_a", 0.04), ("gemnet_small", 0.02), ("yolo11n", 0.03))
    },
    "rounds": 5, "machine": "a CPU", "onnxruntime": "1", "date": "today",
}  # fmt: skip


def test_a_goal_is_reached_where_the_worst_seed_is_ahead_of_the_others_best():
    def of(method, *aps, **changes):
        return [row(method, seed, ap, **changes) for seed, ap in enumerate(aps)]

    rows = [
        *of("gemnet_a_bfloat16", 0.55, 0.53), *of("yolo11n", 0.52, 0.54), *of("rtmdet_tiny", 0.5),
        *of("yolo11n", 0.9, data="raccoon"), *of("gemnet_a_bfloat16", 0.1, budget=60),
    ]  # fmt: skip
    lines = goals.goals(rows, SPEED).splitlines()
    assert (
        "| AP on bccd, the default beside YOLO11n | ahead on every seed | .540 ± .014 (2) | .530 ± .014 (2) | **no** |" in lines
    )
    assert "| AP on bccd, the default beside RTMDet-tiny | ahead on every seed | .540 ± .014 (2) | .500 (1) | yes |" in lines
    assert "| AP on raccoon, the default beside YOLO11n | ahead on every seed |  | .900 (1) | not measured yet |" in lines
    assert "| AP50 on bccd, the default | ≥ .85 | .800 ± .000 (2) |  | **no** |" in lines
    assert "| images/s, the small one, of YOLO11n's | ≥ 1.25 | 1.50 | 1.00 | yes |" in lines
    assert "| images/s, the default, of YOLO11n's | ≥ 1.25 | 0.75 | 1.00 | **no** |" in lines
    summary = goals.summary(rows, SPEED).splitlines()
    assert summary[2:] == [
        f"| {tasks.METHODS['gemnet_a_bfloat16']} | .540 ± .014 (2) |  | 0.75 |",
        f"| {tasks.METHODS['rtmdet_tiny']} | .500 (1) |  |  |",
        f"| {tasks.METHODS['yolo11n']} | .530 ± .014 (2) | .900 (1) | 1.00 |",
    ]


def test_the_tables_of_the_pages_are_renewed_by_the_command(tmp_path, capsys):
    for name in ("tools", "configs", "docs/results"):
        (tmp_path / name).mkdir(parents=True)
    page = tmp_path / report.PAGE
    page.write_text("\n".join(["# Title", *report.MARKS, *report.SPEED_MARKS, "The end."]) + "\n")
    (tmp_path / goals.PAGE).write_text("\n".join(goals.MARKS) + "\n")
    (tmp_path / goals.GUIDE).write_text("\n".join(goals.SUMMARY_MARKS) + "\n")
    (tmp_path / report.SPEEDS).write_text(json.dumps(SPEED))
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(row()) + "\n")
    call = Call(["table", "--record", str(path), "--write"], "tools", "compare_detectors.py", tmp_path)
    assert command.main(call) == 0
    made = report.table([row()], 1800)
    assert capsys.readouterr().out == f"{made}\n"
    start, end = report.SPEED_MARKS
    lines = ["# Title", report.MARKS[0], made, report.MARKS[1], start, report.speed_table(SPEED), end, "The end."]
    assert page.read_text() == "\n".join(lines) + "\n"
    assert goals.goals([row()], SPEED) in (tmp_path / goals.PAGE).read_text()
    assert goals.summary([row()], SPEED) in (tmp_path / goals.GUIDE).read_text()
    path.write_text("[]\n")
    assert command.main(call) == 1
    assert "record.jsonl, line 1: not a training of this comparison" in capsys.readouterr().err


def test_the_command_knows_the_methods_and_the_files_without_importing_them():
    assert tuple(tasks.METHODS) == command.METHODS
    assert (command.BUDGET, command.RECORD) == (tasks.BUDGET, report.RECORD)
    for name in set(tasks.METHODS):
        assert training.method(name)
    with pytest.raises(UserError, match="--methods yolov1: no such method"):
        training.method("yolov1")


def _interpreter(tmp_path, monkeypatch):
    """In the place of Python: ends a training of `gemnet_a` well, and one of another method with an error."""
    script = tmp_path / "interpreter"
    good = json.dumps(row(data="photos", budget=60.0))
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "given = dict(zip(sys.argv[5::2], sys.argv[6::2]))\n"
        "if given['--method'] != 'gemnet_a':\n    sys.exit('the dog ate it')\n"
        f"(pathlib.Path(given['--work-dir']) / 'row.json').write_text({good!r})\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(run.sys, "executable", str(script))
    monkeypatch.setattr(run, "POLL", 0.02)


def test_what_ends_well_is_recorded_and_not_run_again_and_what_fails_is_told(tmp_path, folder, monkeypatch, capsys):
    _interpreter(tmp_path, monkeypatch)
    planned = tasks.tasks([str(folder)], ["gemnet_a", "ssdlite320"], [0], 60.0, tmp_path / "work")
    path = tmp_path / "record.jsonl"
    with record.open_record(path, tmp_path / "work") as store:
        failed = run.train_all(planned, store, 2, Display())
    assert list(record.open_record(path).rows) == [planned[0].key]
    assert len(failed) == 1
    assert failed[0].startswith("ssdlite320 on photos, seed 0: failed (the dog ate it)")
    said = capsys.readouterr().out
    assert "gemnet_a on photos, seed 0: AP 0.500, AP50 0.800 on the test images; 40 epochs, 60 CPU seconds (+0.0%" in said
    assert "2 to train, 2 at a time: at least 1 minutes" in said
    assert "1 of 2 trainings, ETA" in said
    with record.open_record(path, tmp_path / "work") as store:
        assert run.train_all(planned[:1], store, 1, Display()) == []
    assert "begins" not in capsys.readouterr().out


def test_a_training_that_ended_without_anyone_to_record_it_is_recorded_later(tmp_path, folder, capsys):
    (planned,) = tasks.tasks([str(folder)], ["gemnet_a"], [0], 60.0, tmp_path / "work")
    planned.work_dir.mkdir(parents=True)
    (planned.work_dir / training.ROW).write_text(json.dumps(row(data="photos", budget=60.0)))
    with record.open_record(tmp_path / "record.jsonl", tmp_path / "work") as store:
        assert run.train_all([planned], store, 1, Display()) == []
        assert list(store.rows) == [planned.key]
    assert "had ended" in capsys.readouterr().out


def test_the_yolo_is_trained_and_tested_by_its_own_command_line(tmp_path, folder, fake_python):
    task = tasks.Task("photos", folder, "yolo11n", 3, 1.0, tmp_path / "work", fake_python)
    found = training.train(task)
    assert record.parse(json.loads((task.work_dir / training.ROW).read_text())) == found
    calls = [json.loads(line) for line in (fake_python.parent / "calls.jsonl").read_text().splitlines()]
    assert [mode for mode, _ in calls] == ["train", "train", "train", "val"]
    lengths = [int(given["epochs"]) for mode, given in calls if mode == "train"]
    assert lengths[:2] == [yolo.SHORT, yolo.LONG]
    assert lengths[2] == found["epochs"] > yolo.LONG
    assert found["images"] == 12 * found["epochs"]
    told = calls[2][1]
    assert (told["model"], told["imgsz"], told["seed"], told["pretrained"]) == ("yolo11n.yaml", "320", "3", "False")
    assert calls[3][1]["model"].endswith("run/weights/best.pt")
    assert found["validation"][-1] == [found["epochs"], found["epochs"] / 100]
    assert 0 < found["AP50"] < 1
    (task.work_dir / training.ROW).unlink()
    again = training.train(task)  # the test alone is missing
    assert again == found
    assert len((fake_python.parent / "calls.jsonl").read_text().splitlines()) == len(calls) + 1


def test_the_yolo_reads_links_and_boxes_as_shares_of_the_image(tmp_path, folder):
    prepared = tasks.prepared_data("photos", folder, tmp_path / "work")
    data = json.loads(yolo.write_data(prepared, tmp_path / "yolo_data").read_text())
    assert data["names"] == dict(zip("01", CLASSES))
    content = json.loads(prepared.files["val"].read_text())
    for image in content["images"]:
        link = tmp_path / "yolo_data" / data["val"] / f"{image['id']:08d}.jpg"
        assert link.resolve() == (prepared.root / image["file_name"]).resolve()
        lines = (tmp_path / "yolo_data" / "labels" / "val" / f"{image['id']:08d}.txt").read_text().splitlines()
        own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        assert len(lines) == len(own)
        for line, one in zip(lines, own):
            label, *numbers = line.split()
            assert int(label) == one["category_id"] - 1
            middle_x, middle_y, width, height = (
                float(number) * side for number, side in zip(numbers, (image["width"], image["height"]) * 2)
            )
            assert [middle_x - width / 2, middle_y - height / 2, width, height] == pytest.approx(one["bbox"], abs=1e-3)


def test_an_interpreter_without_the_package_is_refused_with_the_remedy(tmp_path, folder, capsys, monkeypatch):
    remedy = "pip install ultralytics onnx; then --yolo-python yolo/bin/python"
    for given, reason in (
        (None, "needs an interpreter that has ultralytics"), (tmp_path / "none", "no such file"),
        (folder / "test" / "p030.jpg", "has no ultralytics"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=reason) as error:
            yolo.check_python(given)
        assert remedy in str(error.value)
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", str(folder), "--methods", "yolo11n", "--work-dir", str(tmp_path / "work")]
    assert command.main(Call(arguments, "tools", "compare_detectors.py", ROOT)) == 1
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_an_error_of_the_package_is_told_by_its_last_line(tmp_path, fake_python):
    fake_python.write_text("#!/bin/sh\necho first\necho 'out of luck'\nexit 3\n")
    with pytest.raises(UserError, match=r"yolo detect train ended with exit code 3: out of luck; .*train\.log tells more"):
        yolo.run(fake_python, tmp_path / "train.log", "detect", "train", "model=x")


def test_the_folder_of_something_else_stays_as_it_is(tmp_path, folder, fake_python):
    place = tmp_path / "work" / training.PLACE
    place.mkdir(parents=True)
    (place / "mine.txt").touch()
    with pytest.raises(UserError, match="exists, and is no training of this command; name another --work-dir"):
        training.train(tasks.Task("photos", folder, "yolo11n", 0, 1.0, tmp_path / "work", fake_python))
    assert (place / "mine.txt").exists()


def _graph(path, batch=1):
    def constant(name, *shape):
        return helper.make_tensor(name, TensorProto.FLOAT, shape, [0.0] * (math.prod(shape)))

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=2),
        helper.make_node("ConvTranspose", ["y", "t"], ["z"]),
        helper.make_node("Reshape", ["z", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "g"], ["h"], transB=1),
        helper.make_node("Constant", [], ["m"], value=constant("", 7, 2)),
        helper.make_node("MatMul", ["h", "m"], ["out"]),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 50])
    graph = helper.make_graph(
        nodes, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 2])],
        [constant("w", 6, 2, 3, 3), constant("b", 6), constant("t", 6, 2, 2, 2), constant("g", 7, 50), shape],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_costs_of_an_onnx_graph_are_those_of_convolutions_and_products(tmp_path):
    cost = onnx_cost(_graph(tmp_path / "made.onnx"))
    assert cost.params == 6 * 2 * 9 + 6 + 6 * 2 * 4 + 7 * 50 + 7 * 2
    assert cost.macs == 6 * 4 * 4 * (2 * 9) + 6 * 4 * 4 * (2 * 4) + 7 * 50 + 2 * 7


def test_a_graph_with_a_free_batch_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not fixed; export one size and batch"):
        onnx_cost(_graph(tmp_path / "made.onnx", batch="N"))
