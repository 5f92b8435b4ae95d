"""One's own detector from a folder of photos: data checked, training within a time, the test, the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.core.telling import printable, tell
from gemnet.detection.data import Prepared, prepare
from gemnet.detection.own_detector import training
from gemnet.detection.own_detector.exporting import export_if_possible, export_told, seconds_for_export
from gemnet.detection.own_detector.measures import Figures, best_score, figures, mistakes
from gemnet.detection.own_detector.report import write_report
from gemnet.detection.own_detector.verdict import Sentence, verdict
from gemnet.openmmlab import engine

REPORT = "report.html"
COMPARED = 32
"""Training images that are measured beside the test's, to tell what is learned by heart."""
TOLD = 20
"""Classes whose figures are printed."""
REPORTING = 10.0
"""Seconds that the test and the report take beside the predictions."""


def detect(
    folder: str,
    work_dir: str,
    minutes: float | None = 30.0,
    epochs: int | None = None,
    form: str | None = None,
    seed: int = 0,
    cell: str | None = None,
    config: str = "gemnet::own_detector.py",
    options: Mapping[str, Any] | None = None,
    processes: int | None = None,
    began: float | None = None,
    told: Sequence[Sentence] = (),
    export: bool = True,
) -> dict[str, Any]:
    """Train a detector on the photos of a folder, test it once, and show it; the same call again goes on where it was.

    Args:
        folder: Photos with boxes, in a form that `gemnet.detection.data.prepare` reads. Nothing is written there.
        work_dir: Where everything goes: best.pth, detector.py, result.json, report.html, the log.
        minutes: Of wall time for the whole call, from `began` to the report; None with `epochs`.
        epochs: In place of the time; the same seed then gives the same weights on the same machine.
        form: The form of the labels, where several could be meant.
        seed: Of the splits, the weights, the order and the changes of images.
        cell: A searched cell as the backbone, in place of the config's.
        config: What is trained: a file, or `gemnet::own_detector.py`.
        options: Options of the config, as image_size and batch_size; they are not chosen then.
        processes: That train together; None for one a GPU, or one on a CPU.
        began: `time.monotonic()` of the command's start.
        told: Sentences about what was done before, as of a search for the cell; result and report end with them.
        export: Whether the detector is also written as detector.onnx, which runs without this package.

    Returns:
        What is in result.json.

    Raises:
        DataError: The data cannot be used; names file, entry, value and remedy.
        UserError: Something given does not fit, or the work directory has another training.
    """
    began = time.monotonic() if began is None else began
    if (minutes is None) == (epochs is None):
        raise UserError("expected either minutes or epochs")
    if "epochs" in (options or {}):
        raise UserError("epochs as an option of the config: set it by --epochs, in place of --minutes")
    place = Path(work_dir)
    processes = processes or max(1, torch.cuda.device_count())
    prepared = prepare(Path(folder), place, format=form, seed=seed)
    _tell_data(folder, prepared)
    seconds = None if minutes is None else minutes * 60
    plan = training.planned(prepared, place, config, seconds, epochs, seed, cell, options or {}, processes)
    result = _result(place)
    if result is not None:
        tell(f"finished already: {place / REPORT}; name another --work-dir to train anew")
        return result
    _tell_plan(plan)
    torch.set_num_threads(plan["threads"])
    done = _trained(place)
    if not done:
        left = None
        if seconds is not None:
            resumed = engine.latest_checkpoint(place) is not None
            ending = (
                REPORTING
                + export * seconds_for_export()
                + training.pace_of(plan).prediction * (prepared.images["test"] + prepared.images["val"] + COMPARED)
            )
            left = max(1.0, seconds - ending - (training.STARTING if resumed else time.monotonic() - began + training.STARTING))
        training.train(place, processes, left)
        save_text(place / "trained.json", json.dumps({"seconds": round(time.monotonic() - began, 1)}) + "\n")
    tell(f"the test: {prepared.images['test']} images that training never saw")
    return _finish(place, prepared, plan, began, told, export)


def _tell_data(folder: str, prepared: Prepared) -> None:
    tell(f"{folder}: {prepared.format}; {len(prepared.classes)} classes: {', '.join(prepared.classes[:20])}")
    for note in prepared.notes:
        tell(f"  {note}")
    parts = [f"{split} {prepared.images[split]:,} images, {prepared.boxes[split]:,} boxes" for split in prepared.files]
    tell(f"  {'; '.join(parts)}")


def _tell_plan(plan: Mapping[str, Any]) -> None:
    width, height = plan["image_size"]
    time_ = (
        f"{plan['seconds'] / 60:g} minutes, about {plan['epochs']} epochs" if plan["seconds"] else f"{plan['epochs']} epochs"
    )
    how = f"{plan['threads']} threads, " if plan["device"] == "cpu" else ""
    how += plan.get("precision", "float32")  # an earlier version's has none
    tell(f"training on {plan['processes']} x {plan['device']} ({how}): {time_}")
    tell(
        f"  images of {width}x{height}, batch {plan['batch_size']}, learning rate {plan['learning_rate']:g}; "
        f"{plan['params'] / 1e6:.1f} M params, {plan['macs'] / 1e9:.2f} G MACs"
        + (f"; the backbone starts from {plan['weights']}" if plan.get("weights") else "")
    )


def _trained(place: Path) -> bool:
    return (place / "trained.json").is_file() and (place / training.BEST).is_file()


def _result(place: Path) -> dict[str, Any] | None:
    """What an earlier call measured, if its weights and report are there as well."""
    try:
        result = json.loads((place / training.RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    there = (place / REPORT).is_file() and (place / training.BEST).is_file()
    return result if there and isinstance(result, dict) else None


def predictions_of(place: Path, annotations: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content of a COCO file and the predictions on its images, which are also left as NAME.bbox.json."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    out = place / f"{name}.bbox.json"
    out.unlink(missing_ok=True)
    with training.logged(place), TemporaryDirectory(dir=place, prefix="evaluation_") as runner:  # which writes its config there
        engine.evaluate(
            str(place / training.CONFIG),
            str(place / training.BEST),
            runner,
            str(place / name),
            options={"test_dataloader.dataset.ann_file": str(annotations.absolute())},
        )
    found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []  # mmdet writes none where nothing is found
    return content, found


def _some(source: Path, target: Path, count: int) -> Path:
    """A COCO file of `count` images of another, spread over it."""
    content = json.loads(source.read_text(encoding="utf-8"))
    boxed = {one["image_id"] for one in content["annotations"]}
    images = [image for image in content["images"] if image["id"] in boxed]
    images = images[:: max(1, len(images) // count)][:count]
    chosen = {image["id"] for image in images}
    content["images"] = images
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in chosen]
    save_text(target, json.dumps(content) + "\n")
    return target


def _finish(
    place: Path, prepared: Prepared, plan: Mapping[str, Any], began: float, told: Sequence[Sentence], export: bool
) -> dict[str, Any]:
    """Measure the test split once, export, and write the result and the report."""
    content, found = predictions_of(place, prepared.files["test"], "test")
    tested = figures(content, found)
    score = best_score(*predictions_of(place, prepared.files["val"], "val"))
    listed, confusions = mistakes(content, found, score)
    some = _some(prepared.files["train"], place / "data" / "train_some.json", COMPARED)
    of_training: Figures = figures(*predictions_of(place, some, "train_some"))
    losses, validations = training.curves(place)
    sentences = [*verdict(prepared, plan, tested, of_training, validations, listed, confusions), *told]
    result = {
        "AP": tested.ap, "AP50": tested.ap50, "classes": tested.classes,
        "areas": {"small": tested.small, "medium": tested.medium, "large": tested.large},
        "train_AP": of_training.ap,
        "score": score, "validation": validations,
        "images": dict(prepared.images), "boxes": dict(prepared.boxes), "confusions": confusions,
        "verdict": [asdict(sentence) for sentence in sentences], "plan": dict(plan),
    }  # fmt: skip
    if export:
        exported = export_if_possible(place, score)
        tell(export_told(place, exported))
        result["export"] = exported
    result["seconds"] = round(time.monotonic() - began, 1)
    write_report(place / REPORT, prepared, plan, result, losses, listed)
    save_text(place / training.RESULT, json.dumps(result, indent=1) + "\n")
    measured = {name: row for name, row in tested.classes.items() if row["objects"]}
    rows = [f"  {name}: AP {_shown(row['ap'])}, AP50 {_shown(row['ap50'])}" for name, row in list(measured.items())[:TOLD]]
    for line in [f"test AP {_shown(tested.ap)}, AP50 {_shown(tested.ap50)}", *rows]:
        print(printable(line))
    for sentence in sentences:
        print(printable(f"{sentence.says} ({sentence.evidence})"))
    print(place / REPORT)
    return result


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"
