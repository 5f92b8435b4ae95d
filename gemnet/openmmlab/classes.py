"""Which classes a config's data sets, heads and evaluators have: one list of names for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from gemnet.annotations.coco import file_classes
from gemnet.annotations.findings import plain_name
from gemnet.checkpoints.class_names import difference
from gemnet.core.errors import DataError, UserError

COCO_CLASSES = 80
"""`num_classes` of mmdet's own heads; a config that leaves it so has not decided."""
METRICS = ("CocoMetric", "mmdet.CocoMetric")


def named_classes(metainfo: Mapping[str, Any] | None, where: str) -> tuple[str, ...] | None:
    """`classes` of a data set's metainfo, if it names them. Raises UserError where they are no list of different names."""
    found = (metainfo or {}).get("classes")
    if found is None:
        return None
    valid = isinstance(found, (list, tuple)) and found and all(isinstance(name, str) and name for name in found)
    if not valid or len(set(found)) < len(found):
        raise UserError(f"{where}.classes={found!r}: expected a list of different names, as ('cat', 'dog')")
    return tuple(map(plain_name, found))


def settle_classes(config: Config, names: Sequence[str] | None = None, checkpoint: str = "") -> None:
    """Give every gemnet.CocoDataset of a config the same classes, in the same order, and every head their number.

    They are those that a data set's metainfo names, else `names`, those of `checkpoint`, else those of the annotation files,
    training's first; where there are none of these, nothing changes. A classifier's head that leaves its number open gets that
    of `names`. mmdet's own CocoMetric on such a data set becomes gemnet's. Raises UserError or DataError where two of them
    differ, where a head was made for another number, and where an evaluator would get several annotation files.
    """
    leaves = [
        (f"{split}_dataloader{path}", leaf)
        for split in ("train", "val", "test")
        for path, leaf in _leaves((config.get(f"{split}_dataloader") or {}).get("dataset"), ".dataset")
    ]
    leaves = [(where, leaf) for where, leaf in leaves if leaf.get("type") == "gemnet.CocoDataset"]
    if not leaves:
        head = config.model.get("head")
        if names is not None and isinstance(head, dict) and head.get("num_classes", 0) is None:
            head["num_classes"] = len(names)
        return
    for split in ("val", "test"):
        _settle_evaluator(config, split, [leaf for where, leaf in leaves if where.startswith(split)])
    classes, source = _named(leaves)
    if names is not None:
        names = tuple(map(plain_name, names))
        if classes is not None and names != classes:
            raise UserError(f"{source} {difference(classes, names)} than {checkpoint}")
        classes, source = names, checkpoint
    if classes is None:
        classes, source = _of_files(leaves)
    if classes is None:
        return
    for _, leaf in leaves:
        leaf["metainfo"] = {**(leaf.get("metainfo") or {}), "classes": classes}
    _settle_heads(config.model, len(classes), source)


def _leaves(dataset: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The data sets below wrappers such as RepeatDataset and ConcatDataset, with their places in the config."""
    if isinstance(dataset, Mapping):
        inner = [(f"{path}.dataset", dataset["dataset"])] if "dataset" in dataset else []
        inner += [(f"{path}.datasets.{index}", leaf) for index, leaf in enumerate(dataset.get("datasets") or ())]
        for place, leaf in inner:
            yield from _leaves(leaf, place)
        if not inner:
            yield path, dataset


def _file(leaf: Mapping[str, Any]) -> str:
    return os.path.join(leaf.get("data_root") or "", leaf.get("ann_file") or "")


def _settle_evaluator(config: Config, split: str, leaves: list[Any]) -> None:
    evaluators = config.get(f"{split}_evaluator")
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators or []
    ours = [evaluator for evaluator in evaluators if evaluator.get("type") in (*METRICS, "gemnet.CocoMetric")]
    files = sorted({os.path.abspath(_file(leaf)) for leaf in leaves})
    if ours and len(files) > 1:
        raise UserError(f"{split}_dataloader joins {', '.join(files)}: COCO's metrics take one file; test them one by one")
    for evaluator in ours if leaves else []:
        evaluator["type"] = "gemnet.CocoMetric"


def _named(leaves: list[tuple[str, Any]]) -> tuple[tuple[str, ...] | None, str]:
    """The classes that data sets name, and which does."""
    found = [(where, named_classes(leaf.get("metainfo"), f"{where}.metainfo")) for where, leaf in leaves]
    named = [(where, classes) for where, classes in found if classes is not None]
    for where, classes in named[1:]:
        if classes != named[0][1]:
            raise UserError(f"{where}.metainfo {difference(classes, named[0][1])} than {named[0][0]}.metainfo")
    return (named[0][1], f"{named[0][0]}.metainfo") if named else (None, "")


def _of_files(leaves: list[tuple[str, Any]]) -> tuple[tuple[str, ...] | None, str]:
    """The classes of the first annotation file that is there; of those to validate on, none may have a box of another."""
    files = dict.fromkeys(_file(leaf) for _, leaf in leaves)
    there = [file for file in files if Path(file).is_file()]
    if not there:
        return None, ""
    classes, _ = _classes_of(there[0])
    tests = {_file(leaf) for where, leaf in leaves if where.startswith("test")}
    for file in there[1:]:
        others, used = _classes_of(file)
        more = [name for name in others if name in used and name not in classes]
        if more and (file not in tests or file in {_file(leaf) for where, leaf in leaves if not where.startswith("test")}):
            raise DataError(f"{file}: has boxes of {', '.join(more[:8])}, which {there[0]} lacks; its classes are the model's")
    return classes, there[0]


def _classes_of(file: str) -> tuple[tuple[str, ...], frozenset[str]]:
    state = os.stat(file)
    return _cached_classes(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _cached_classes(file: str, changed: int, size: int) -> tuple[tuple[str, ...], frozenset[str]]:
    return file_classes(file)


def _settle_heads(model: Any, count: int, source: str) -> None:
    """`num_classes` of the heads and of their losses, where it is open or mmdet's 80, becomes `count`."""
    for name in ("bbox_head", "mask_head", "roi_head"):
        for path, part in _parts(model.get(name), f"model.{name}"):
            if "num_classes" not in part:
                continue
            found = part["num_classes"]
            if found in (None, COCO_CLASSES):
                part["num_classes"] = count
            elif found != count and path.rpartition(".")[2].rstrip("0123456789[]") in ("bbox_head", "mask_head"):
                raise UserError(f"{path}.num_classes={found}, but {source} has {count} classes; expected that, or leave it out")


def _parts(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, Mapping):
        yield path, part
        for name, inner in part.items():
            yield from _parts(inner, f"{path}.{name}")
    elif isinstance(part, (list, tuple)):
        for index, inner in enumerate(part):
            yield from _parts(inner, f"{path}[{index}]")


def configured_classes(config: Config) -> tuple[str, ...] | None:
    """The classes that a config names for its data sets, those for testing first; None where it names none."""
    for split in ("test", "val", "train"):
        for path, leaf in _leaves((config.get(f"{split}_dataloader") or {}).get("dataset"), f"{split}_dataloader.dataset"):
            if (classes := named_classes(leaf.get("metainfo"), f"{path}.metainfo")) is not None:
                return classes
    return None
