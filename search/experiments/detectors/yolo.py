"""A YOLO nano of the package ultralytics, by the package's own command line in an environment of its own.

The package's licence is the AGPL: nothing of it is imported here, and GEMNet needs none of it.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.detection.data import Prepared
from search.experiments.detectors.budget import Pace, cpu_seconds, epochs_within
from search.experiments.detectors.outcome import Trained
from search.experiments.detectors.tasks import IMAGE_SIZE, Task

LAYOUT = "{method}.yaml"
"""The package's published layout, which has no weights."""
SHORT, LONG = 1, 3
"""Epochs of the two runs of the warm-up: what they differ by is the epochs, what they share is the start."""
SCRIPT = "yolo"
"""The package's command, beside the interpreter of its environment."""
REMEDY = "make one with python -m venv yolo && yolo/bin/pip install ultralytics onnx; then --yolo-python yolo/bin/python"


def is_yolo(method: str) -> bool:
    """Whether a method is one of this package, and needs its interpreter."""
    return method.startswith("yolo")


def check_python(python: Path | None) -> Path:
    """The interpreter of an environment with the package.

    Raises:
        UserError: None was named, or it has not the package; tells how to make one.
    """
    if python is None:
        raise UserError(f"the YOLO needs an interpreter that has ultralytics; {REMEDY}")
    if not python.is_file():
        raise UserError(f"--yolo-python {python}: no such file; {REMEDY}")
    if not python.with_name(SCRIPT).is_file():
        raise UserError(f"--yolo-python {python}: has no ultralytics, whose command {SCRIPT} lies beside it; {REMEDY}")
    return python


def version(python: Path) -> str:
    """Of the package."""
    asked = "from importlib.metadata import version; print(version('ultralytics'))"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def write_data(prepared: Prepared, place: Path) -> Path:
    """The data set in the form that the package reads: links to the images, named by their ids, and text files of boxes.

    Returns:
        The path of its data.yaml.
    """
    shutil.rmtree(place, ignore_errors=True)
    for split, file in prepared.files.items():
        content = json.loads(file.read_text(encoding="utf-8"))
        images, labels = place / "images" / split, place / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        lines: dict[int, list[str]] = {}
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for one in content["annotations"]:
            (x, y, width, height), size = one["bbox"], sizes[one["image_id"]]
            box = ((x + width / 2) / size[0], (y + height / 2) / size[1], width / size[0], height / size[1])
            numbers = " ".join(f"{value:.6f}" for value in box)
            lines.setdefault(one["image_id"], []).append(f"{one['category_id'] - 1} {numbers}\n")
        for image in content["images"]:
            source = prepared.root / image["file_name"]
            (images / f"{image['id']:08d}{source.suffix.lower()}").symlink_to(source)
            save_text(labels / f"{image['id']:08d}.txt", "".join(lines.get(image["id"], [])))
    data = {"path": str(place.absolute()), **{split: f"images/{split}" for split in prepared.files}}
    data["names"] = dict(enumerate(prepared.classes))  # type: ignore[assignment]
    save_text(place / "data.yaml", json.dumps(data, indent=1) + "\n")  # JSON is YAML
    return place / "data.yaml"


def run(python: Path, log: Path, *arguments: str) -> None:
    """Call the package's command line on one thread, away from the network; what it prints goes to `log`.

    Raises UserError where it ends with an error, with the last line of the log.
    """
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(log.parent), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    with log.open("ab") as file:
        command = [str(python), str(python.with_name(SCRIPT)), *arguments]
        with subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=log.parent) as process:
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
    if code:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise UserError(f"{' '.join(command[1:4])} ended with exit code {code}: {(lines or [''])[-1]}; {log} tells more")


def _train(task: Task, data: Path, name: str, epochs: int) -> Path:
    """Train for so many epochs; returns the run's folder."""
    assert task.yolo_python is not None
    place = task.work_dir.absolute()
    run(
        task.yolo_python, place / "train.log", "detect", "train", f"model={LAYOUT.format(method=task.method)}", f"data={data}",
        f"epochs={epochs}", f"imgsz={IMAGE_SIZE}", f"seed={task.seed}", "device=cpu", "workers=0", "pretrained=False",
        "plots=False", f"project={place}", f"name={name}", "exist_ok=True",
    )  # fmt: skip
    return place / name


def train_yolo(task: Task, prepared: Prepared) -> Trained:
    """Train with all settings as the package has them, but for the length, the image size and the seed."""
    check_python(task.yolo_python)
    data = write_data(prepared, task.work_dir / "yolo_data")
    seconds = {}
    for epochs in (SHORT, LONG):
        start = cpu_seconds()
        _train(task, data, f"warm_up_{epochs}", epochs)
        seconds[epochs] = cpu_seconds() - start
    epoch = (seconds[LONG] - seconds[SHORT]) / (LONG - SHORT)
    pace = Pace(epoch, 0.0, max(0.0, seconds[SHORT] - SHORT * epoch))  # it validates after each epoch
    length = epochs_within(task.budget, pace, lambda epochs: 0)
    wall, start = time.monotonic(), cpu_seconds()
    folder = _train(task, data, "run", length)
    cpu, wall = cpu_seconds() - start, time.monotonic() - wall
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    curve = [(float(row["epoch"]), float(row["metrics/mAP50-95(B)"])) for row in rows]
    settings = {"batch_size": 16, "image_size": [IMAGE_SIZE] * 2, "optimizer": "auto", "ultralytics": version(_python(task))}
    weights = folder / "weights" / "best.pt"
    return Trained(len(rows), len(rows) * prepared.images["train"], cpu, wall, pace, curve, settings, weights)


def predict_yolo(task: Task, prepared: Prepared, trained: Trained) -> list[dict[str, Any]]:
    """Predictions on the test images, in COCO's form."""
    place = task.work_dir.absolute()
    run(
        _python(task), place / "train.log", "detect", "val", f"model={trained.weights}",
        f"data={place / 'yolo_data' / 'data.yaml'}", "split=test", f"imgsz={IMAGE_SIZE}", "device=cpu", "workers=0",
        "plots=False", "save_json=True", f"project={place}", "name=test", "exist_ok=True",
    )  # fmt: skip
    listed = json.loads((place / "test" / "predictions.json").read_text(encoding="utf-8"))
    return [{key: one[key] for key in ("image_id", "category_id", "bbox", "score")} for one in listed]


def _python(task: Task) -> Path:
    return check_python(task.yolo_python)


def export(python: Path, method: str, place: Path) -> Path:
    """Write the network of the package's published layout, with random weights, by its own export to ONNX.

    Raises UserError where it cannot, as without onnx in its environment.
    """
    place = place.absolute()
    run(
        python, place / f"{method}.log", "export", f"model={LAYOUT.format(method=method)}", "format=onnx",
        f"imgsz={IMAGE_SIZE}", "device=cpu", "simplify=False",
    )  # fmt: skip
    return place / f"{method}.onnx"
