"""Export a whole detector for a runtime, with a script that runs it and a proof of both.

For ONNX Runtime it is one file that takes photos and gives boxes, see `detector_onnx`. For the other runtimes, what is done to
pixels and the choice of boxes stand beside the network, see `detector_beside`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

import gemnet
from gemnet.annotations.coco import read_coco
from gemnet.cell import Cell
from gemnet.core.errors import DataError
from gemnet.core.files import made_apart
from gemnet.deploy.detectors import exportable
from gemnet.deploy.export import METADATA, ExportError, quiet
from gemnet.deploy.preprocessing import preprocessing
from gemnet.deploy.proof import Agreement, Found, Limits, compare
from gemnet.deploy.runtimes.table import Runtime, runtime
from gemnet.detection.made import write_made_coco
from gemnet.detection.prediction_files import find_images
from gemnet.detection.predictor import Predictor
from gemnet.images.pixels import read_image
from gemnet.openmmlab import engine
from gemnet.openmmlab.backbone import resolve_architecture

PHOTOS = 8
"""Photos of the proof."""
SCORE = 0.3
"""Below this score boxes are left out by the script where nothing better is known."""
FORMAT, VERSION = "gemnet.detector", 1


@dataclass(frozen=True)
class Written:
    """What was written: the script, the JSON, what finds boxes with the file, and what decides which are kept.

    network: What the file computes, where that is the network alone.
    """

    runner: Path
    about: Mapping[str, Any]
    detector: Any
    limits: Limits
    network: nn.Module | None = None


@dataclass(frozen=True)
class ExportedDetector:
    """What was written, and how its boxes agree with the model's on the photos of `source`.

    size: bytes of the file and its companions; seconds: of the whole export; about: the JSON in the file, or beside it;
    network: what the file computes, where that is the network alone.
    """

    path: Path
    runner: Path
    agreement: Agreement
    source: str
    size: int
    seconds: float
    about: Mapping[str, Any]
    network: nn.Module | None = None

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.path}: {self.size / 1e6:.1f} MB, {self.seconds:.0f} s",
                f"{self.agreement} ({self.source})",
                f"run it anywhere: python {self.runner} photo.jpg",
            ]
        )


def export_detector(
    config: str,
    checkpoint: str | None,
    out: str | Path,
    images: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    score: float = SCORE,
    count: int = PHOTOS,
    to: str = "onnx",
) -> ExportedDetector:
    """Write a detector of MMDetection with everything around it for a runtime, once it has shown the same boxes.

    For ONNX Runtime the file takes `photos`, uint8 [B, H, W, 3] in RGB as they are, and gives `dets` [B, K, 5] (x1, y1, x2, y2
    in pixels, score) and `labels` [B, K], by falling score; where fewer are found, 0 and -1. Beside it goes `run_NAME.py`. For
    the other runtimes the file takes normalised images of one size and gives all boxes; beside it go a JSON, the module
    `detector_steps.py` and a script. The scripts need the runtime, NumPy and Pillow alone. Nothing is written where the boxes
    differ.

    Args:
        config: A detector's config file, or one of the package.
        checkpoint: Its weights; None leaves them random, which is told.
        out: The file, with the runtime's ending.
        images: Photos, or folders of photos, for the proof. By default those of the config's test set, else made ones.
        options: Options of the config (dotted keys), as `image_size`.
        score: The threshold that goes into the file for its script; the file itself gives all boxes.
        count: Photos at most.
        to: The runtime, one of `RUNTIMES`.

    Returns:
        What was written, and the agreement.

    Raises:
        MissingExtraError: What the runtime needs is not installed.
        UserError: The detector, its pipeline or a path does not fit.
        ExportError: The runtime does not take the network, or the file does not find what the model finds.
    """
    began, out, entry = time.monotonic(), Path(out), runtime(to)
    if out.suffix != entry.ending:
        raise ExportError(f"{out}: a detector's file for {to} ends with {entry.ending}")
    entry.check()
    settings = engine.load_config(config, options)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ExportError(f"{checkpoint}: no such checkpoint")
    given = [path for path, _ in find_images(images, out.parent / "none")[0]] if images else []
    with made_apart(out) as file, tempfile.TemporaryDirectory() as made:
        predictor = Predictor(settings, checkpoint, "cpu", options)
        if checkpoint is None:
            print(f"{config}: no checkpoint is given: its weights are random", file=sys.stderr)
        photos, source = (given, "given with --images") if given else _photos(settings, Path(made))
        photos = [photos[index * len(photos) // min(count, len(photos))] for index in range(min(count, len(photos)))]
        about = _about(predictor, settings, checkpoint, score)
        with quiet():
            write = _with_graph if to == "onnx" else _with_steps
            written = write(predictor, about, entry, file, photos)
            agreement = prove(predictor, written.detector, written.limits, photos)
        if agreement.mistake:
            raise ExportError(f"{out}: not written, for it does not find what the detector finds: {agreement.mistake}")
        size = entry.bytes_of(file)
    runner, seconds = out.with_name(written.runner.name), time.monotonic() - began
    return ExportedDetector(out, runner, agreement, source, size, seconds, written.about, written.network)


def _with_graph(predictor: Predictor, about: Mapping[str, Any], entry: Runtime, path: Path, photos: Sequence[Path]) -> Written:
    """Write a detector whose file does everything."""
    from gemnet.deploy.detector_onnx import OnnxDetector, write_onnx

    steps = preprocessing(predictor.pipeline.transforms, predictor.model.data_preprocessor)
    detector = exportable(predictor.model, steps.largest)
    about = {**about, "preprocessing": steps.described()}  # which the graph does
    write_onnx(detector, steps, {METADATA: json.dumps(about, ensure_ascii=False)}, path)
    runner = path.with_name(f"run_{path.stem}.py")
    runner.write_text(script_for(path.name), encoding="utf-8")
    return Written(runner, about, OnnxDetector(path), detector.limits)


def _with_steps(predictor: Predictor, about: Mapping[str, Any], entry: Runtime, path: Path, photos: Sequence[Path]) -> Written:
    """Write a detector whose file is the network; `predictor` then fills up images as the steps beside the file do.

    photos: From whose shapes the size of the network's images follows, as `of_one_size` has it.
    """
    from gemnet.deploy.detector_beside import NetworkDetector, about_network, network_of, of_one_size, write_network

    own = preprocessing(predictor.pipeline.transforms, predictor.model.data_preprocessor)
    steps, size = of_one_size(own, _sizes(photos))
    predictor.model.data_preprocessor.pad_size_divisor = steps.divisor
    network = network_of(exportable(predictor.model, size), size)
    about = about_network({**about, "preprocessing": steps.described()}, entry, path, network)
    runner = write_network(network, about, entry, path)
    return Written(runner, about, NetworkDetector(entry, path, about), network.limits, network)


def _sizes(photos: Sequence[Path]) -> Iterator[tuple[int, int]]:
    """Widths and heights of the photos that can be read."""
    for path in photos:
        with suppress(DataError):
            height, width = read_image(path).shape[:2]
            yield width, height


def script_for(name: str) -> str:
    """The script that runs the file `name` beside it."""
    text = Path(__file__).with_name("runner.py").read_text(encoding="utf-8")
    return text.replace('"detector.onnx"', json.dumps(name, ensure_ascii=False))


def prove(predictor: Predictor, exported: Any, limits: Limits, photos: Sequence[Path]) -> Agreement:
    """Compare a model's boxes with those of an exported file, photo by photo, and the first one in a batch with another.

    exported: photos uint8 [B, H, W, 3] -> what is found on each. Photos that cannot be read are told and passed over. Raises
    DataError where none is left.
    """
    agreed = Agreement()
    for path in photos:
        try:
            prediction, pixels = predictor(path), read_image(path)
        except DataError as error:
            print(f"{error}; passed over", file=sys.stderr)
            continue
        boxes = torch.tensor(prediction.boxes).reshape(-1, 4)
        own = Found(boxes, torch.tensor(prediction.scores), torch.tensor(prediction.labels, dtype=torch.int64))
        if not agreed.photos:
            (_, found) = exported(np.stack([pixels[:, ::-1], pixels]))
            in_batch = compare(own, found, limits, f"{path}, in a batch of two")
            agreed = Agreement(mistake=in_batch.mistake, overlap=in_batch.overlap, score=in_batch.score)
        (found,) = exported(pixels[None])
        agreed = agreed + compare(own, found, limits, str(path))
        if agreed.mistake:
            break
    if not agreed.mistake and agreed.ties > agreed.boxes:
        return replace(agreed, mistake=f"{agreed.ties} boxes are ties and only {agreed.boxes} are not, which proves nothing")
    if not agreed.photos:
        raise DataError("none of the photos for the proof can be read; give others with --images")
    return agreed


def _about(predictor: Predictor, config: Config, checkpoint: str | None, score: float) -> dict[str, Any]:
    """What an app must know of the file, and where it comes from."""
    model = predictor.model
    head = model.roi_head.bbox_head if hasattr(model, "roi_head") else model.bbox_head
    digest = None if checkpoint is None else hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    return {
        "format": FORMAT, "version": VERSION, "gemnet": gemnet.__version__,
        "classes": [predictor.name(label) for label in range(head.num_classes)],
        "score_threshold": score,
        "input": {"name": "photos", "type": "uint8", "shape": ["batch", "height", "width", 3], "order": "RGB"},
        "cell": _cell(config.model.backbone),
        "origin": {
            "config": Path(config.filename).name, "checkpoint": None if checkpoint is None else Path(checkpoint).name,
            "sha256": digest,
        },
    }  # fmt: skip


def _cell(backbone: Mapping[str, Any]) -> str | None:
    """The digest of a backbone's cell; None for a backbone of another kind."""
    if backbone.get("cell") is not None:
        return Cell.resolve(backbone["cell"]).digest()
    return resolve_architecture(backbone["arch"]).cell.digest() if backbone.get("arch") is not None else None


def _photos(config: Config, made: Path) -> tuple[list[Path], str]:
    """The photos of a config's test set where it is there, else made ones, and what they are."""
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    root, annotations = Path(dataset.get("data_root") or ""), dataset.get("ann_file")
    if annotations and (root / annotations).is_file():
        folder = root / ((dataset.get("data_prefix") or {}).get("img") or "")
        content = read_coco(root / annotations, folder).content
        photos = [folder / image["file_name"] for image in content["images"]]
        if photos:
            return photos, f"photos of {root / annotations}"
    write_made_coco(made, train=1, val=3)
    return sorted((made / "val2017").iterdir()), "made pictures, for want of photos: give some with --images"
