"""Proof that a detector learns: overfit a few images, measure the AP on the same images, draw the boxes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from mmengine.config import Config
from PIL import Image

from gemnet.annotations.coco import read_coco
from gemnet.core.configs import SCOPE
from gemnet.core.files import save_text
from gemnet.core.tables import markdown_table, marks, publish
from gemnet.detection import zoo
from gemnet.detection.predict import predict
from gemnet.drawing.palette import SERIES, save_svg
from gemnet.drawing.plots import LETTERS, legend_below, page_figure
from gemnet.openmmlab import engine
from gemnet.openmmlab.images import DataError
from gemnet.openmmlab.precision import use_amp

RECORDS = "configs/overfit.json"
LOSSES = "losses.json"
PUBLISHED_LOSSES, PICTURE = "docs/pictures/overfit_losses.json", "docs/pictures/overfit_losses.svg"
PICTURED = "retinanet_gemnet_a"
"""The config whose losses are shown in the documentation."""
NAMES = {
    "loss": "all",
    "loss_cls": "classification",
    "loss_bbox": "boxes",
    "loss_rpn_cls": "proposals",
    "loss_rpn_bbox": "proposals' boxes",
}
"""Losses as a legend has them."""
HEAD = "config | images | longer side | iterations | precision | box AP | AP50 | AP75 | minutes"
MARKS = marks("overfitting", "tools/overfit.py --record")


def write_subset(data_root: Path, count: int, target: Path) -> None:
    """Write to `target` the COCO annotations of the first `count` training images that have boxes.

    They are those of `read_coco`, repaired. Raises DataError where the data set is missing, refused or has fewer such images.
    """
    source = data_root / "annotations/instances_train2017.json"
    if not source.is_file():
        raise DataError(f"{source}: no such file; --data takes a folder in COCO's layout")
    content = read_coco(source, data_root / "train2017").content
    boxed = {annotation["image_id"] for annotation in content["annotations"] if not annotation["iscrowd"]}
    images = [image for image in sorted(content["images"], key=lambda image: image["id"]) if image["id"] in boxed][:count]
    if len(images) < count:
        raise DataError(f"{source}: {len(images)} images with boxes; expected {count}")
    chosen = {image["id"] for image in images}
    content["images"] = images
    content["annotations"] = [annotation for annotation in content["annotations"] if annotation["image_id"] in chosen]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content), encoding="utf-8")


def overfit_options(
    config: Config, data_root: Path, annotations: Path, images: int, size: int, iterations: int
) -> dict[str, Any]:
    """What differs from a training config: the data, `size` pixels on the longer side, no flips, a short schedule."""
    changes: dict[str, dict[str, Any]] = {"Resize": {"scale": (size, size)}, "RandomFlip": {"prob": 0.0}}

    def changed(loader: Any) -> list[dict[str, Any]]:
        return [{**step, **changes.get(step["type"], {})} for step in loader.dataset.pipeline]

    dataset = {"data_root": str(data_root), "ann_file": str(annotations.resolve()), "data_prefix": {"img": "train2017/"}}
    test = {"dataset": {**dataset, "pipeline": changed(config.test_dataloader)}, "num_workers": 0, "persistent_workers": False}
    evaluator = {"ann_file": None}  # the data set's
    return {
        "train_dataloader": {
            "batch_size": images,
            "num_workers": 0,
            "persistent_workers": False,
            "sampler": {"type": "InfiniteSampler", "shuffle": False},
            "batch_sampler": None,
            "dataset": {
                **dataset,
                "pipeline": changed(config.train_dataloader),
                "filter_cfg": {"filter_empty_gt": True, "min_size": 1},
            },
        },
        "val_dataloader": test,
        "test_dataloader": test,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "custom_hooks": [],
        "train_cfg": {"_delete_": True, "type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": iterations},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": min(50, iterations // 2)},
            {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 0, "end": iterations, "eta_min": 0.0},
        ],
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"_delete_": True, "type": "AdamW", "lr": 1e-3, "weight_decay": 1e-4},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
            "clip_grad": {"max_norm": 10},
        },
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 10},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": iterations, "save_best": None},
        },
        "log_processor": {"by_epoch": False, "window_size": 10},
    }


def overfit(
    config: str,
    data_root: str,
    work_dir: str,
    images: int = 8,
    size: int = 256,
    iterations: int = 400,
    amp: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train the config's detector on `images` images alone and return COCO's metrics on them.

    In the work directory: mmengine's log and checkpoint, `pictures/` with the boxes and all of them in `boxes.jpg`, the losses
    in `losses.json` and `.svg`, and `overfit.json` with the figures.
    """
    start = time.monotonic()
    folder = Path(work_dir)
    annotations = folder / "instances.json"
    write_subset(Path(data_root), images, annotations)
    settings = engine.load_config(config, None, work_dir)
    engine.merge(settings, overfit_options(settings, Path(data_root), annotations, images, size, iterations))
    engine.merge(settings, options)
    if amp:
        use_amp(settings)
    settings.dump(folder / "overfit.py")
    runner = engine.build_runner(settings)
    runner.train()
    metrics = runner.val_loop.run() or {"coco/bbox_mAP": 0.0}  # mmdet has no figures where nothing was detected
    names = [image["file_name"] for image in json.loads(annotations.read_text())["images"]]
    predict(
        str(folder / "overfit.py"),
        str(folder / f"iter_{iterations}.pth"),
        [str(Path(data_root) / "train2017" / name) for name in names],
        str(folder / "pictures"),
    )
    figures = {
        "config": config, "images": images, "size": size, "iterations": iterations, "amp": amp,
        "seconds": round(time.monotonic() - start), **{key: float(value) for key, value in metrics.items()},
    }  # fmt: skip
    (folder / "overfit.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    _grid([folder / "pictures" / Path(name).with_suffix(".jpg") for name in names], folder / "boxes.jpg", size)
    losses = _losses(max(folder.glob("*/vis_data/scalars.json")))  # folders are named by time
    losses["box AP"] = figures["coco/bbox_mAP"]
    save_text(folder / LOSSES, json.dumps(losses) + "\n")
    save_svg(losses_picture(losses), folder / "losses.svg")
    result = f"box AP {metrics['coco/bbox_mAP']:.3f} on the {images} images after {figures['seconds']} s"
    print(f"{result}: {folder}/boxes.jpg, losses.svg, overfit.json")
    return metrics


def table(records: list[dict[str, Any]]) -> str:
    """Markdown of recorded figures."""
    lines = []
    for row in records:
        precision = "bfloat16" if row["amp"] else "float32"
        precisions = (f"{row[f'coco/bbox_mAP{kind}']:.3f}" for kind in ("", "_50", "_75"))
        setting = (_name(row), row["images"], row["size"], row["iterations"], precision)
        lines.append((*setting, *precisions, f"{row['seconds'] / 60:.0f}"))
    return markdown_table(HEAD.split(" | "), lines)


def _name(row: Mapping[str, Any]) -> str:
    return Path(row["config"]).stem.removeprefix(SCOPE)


def record(root: Path, work_dir: str) -> None:
    """Put the figures of a run into `configs/overfit.json` below `root`, in place of its config's, and renew the table."""
    file = root / RECORDS
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    row = json.loads((Path(work_dir) / "overfit.json").read_text(encoding="utf-8"))
    rows = sorted([other for other in rows if other["config"] != row["config"]] + [row], key=lambda other: other["config"])
    publish(root, RECORDS, rows, zoo.PAGE, MARKS, table(rows))
    if _name(row) == PICTURED:
        losses = (Path(work_dir) / LOSSES).read_text(encoding="utf-8")
        save_text(root / PUBLISHED_LOSSES, losses)
        save_svg(losses_picture(json.loads(losses)), root / PICTURE)


def losses_picture(losses: Mapping[str, Any]) -> Figure:
    """Draw the losses that `overfit` has written, by iteration."""
    figure = page_figure(3.6)
    axes = figure.subplots()
    names = sorted(losses["losses"], key=lambda name: list(NAMES).index(name) if name in NAMES else len(NAMES))
    for name, colour in zip(names, cycle(SERIES)):
        axes.semilogy(losses["iterations"], losses["losses"][name], color=colour, label=NAMES.get(name, name))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel="iteration", ylabel="loss")
    axes.set_title(f"box AP {losses['box AP']:.3f} at the end", fontsize=LETTERS)
    axes.grid(alpha=0.25)
    legend_below(axes, 3)
    return figure


def _grid(pictures: list[Path], target: Path, side: int, columns: int = 4) -> None:
    """All pictures on one sheet, each within `side` x `side` pixels."""
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side), "white")
    for number, path in enumerate(pictures):
        with Image.open(path) as picture:
            picture.thumbnail((side, side))
            sheet.paste(picture, (number % columns * side, number // columns * side))
    sheet.save(target, quality=90)


def _losses(scalars: Path) -> dict[str, Any]:
    """Losses by iteration, from mmengine's log of scalars."""
    rows = [json.loads(line) for line in scalars.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if "loss" in row]
    names = sorted({key for row in rows for key in row if key.startswith("loss")})
    return {
        "iterations": [row["step"] for row in rows],
        "losses": {name: [float(f"{row[name]:.5g}") for row in rows] for name in names},
    }
