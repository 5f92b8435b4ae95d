"""The benchmarks' published files as the compact files that the spaces read. Done once; nothing in a file is executed."""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import pickle
import zipfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.core.files import open_regular, replacing
from search.core.display import Display
from search.core.types import Progress, SearchError
from search.experiments.convert.tfrecord import message_fields, read_records
from search.spaces import nasbench101, nasbench201, nasbench_macro
from search.spaces.benchmark_files import VERSION

VALIDATION_IMAGES = 9984
"""Images that the benchmark counts a validation or test accuracy of: 39 batches of 256."""
RUNS = 3
"""Trainings of each cell of NAS-Bench-101: their mean accuracy is a multiple of 1 / (3 x 9984)."""
NO_UNPICKLING = (
    "is a pickle of Python objects: to read it means to run what it says, which is not done with files from outside. "
    "Take NAS-Bench-201-v1_1-096897.pth or the folder NAS-Bench-201-v1_1-archive, which hold plain values"
)
_NUMPY_NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)),
]
"""Beside plain values, the numbers of numpy, which are bytes and a type: the authors' scripts counted params with numpy."""
DATASETS = {"valid": "cifar10-valid", "whole": "cifar10"}
"""CIFAR-10 in NAS-Bench-201: trained on half of its training images, with the others for validation; and on all of them."""
OTHER_DATASETS = ("cifar100", "ImageNet16-120")
"""NAS-Bench-201's other data sets, where they are in the file: validation images are half of the published test images."""
MAX_JSON_BYTES = 64 * 2**20


def convert(benchmark: str, source: str | os.PathLike[str], target: str) -> None:
    """Write the compact file of `benchmark`, with a progress bar, and tell what is in it.

    benchmark: nasbench101, nasbench201 or nasbench_macro.

    Raises SearchError as the three converters do, and for a target that is no .npz.
    """
    if not target.endswith(".npz"):
        raise SearchError(f"{target}: expected a file .npz to write")
    converters = {
        "nasbench101": convert_nasbench101,
        "nasbench201": convert_nasbench201,
        "nasbench_macro": convert_nasbench_macro,
    }
    display = Display()
    with display.progress(f"Reading {source}") as progress:
        counts = converters[benchmark](source, target, progress)
    display.line(f"{target}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


def convert_nasbench101(source: str | os.PathLike[str], target: str | os.PathLike[str], progress: Progress) -> dict[str, int]:
    """Read `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`, write the compact file; returns counts by name.

    Validation and test accuracies are means over the trainings of a cell at one length. Rows are in the order of the cells'
    MD5 hashes. `progress` is told bytes. Raises SearchError for what is no such file, and where it is not whole.
    """
    source = Path(source)
    if not source.is_file():
        raise SearchError(f"{source} does not exist; {nasbench101.REMEDY}")
    rows: dict[bytes, int] = {}
    graphs: list[tuple[int, bytes]] = []  # bits of the adjacency matrix, operators
    params = array("q")
    sums: dict[int, dict[str, array]] = {}  # by length of training, by measure: the sum of each row
    total, records = source.stat().st_size, 0
    for end, content in read_records(source):
        try:
            digest, epochs, bits, ops, metrics = _parsed_record(content)
        except (ValueError, TypeError, KeyError, binascii.Error, RecursionError) as error:
            raise SearchError(f"{source}: record {records} is none of NAS-Bench-101: {error}") from None
        row = rows.setdefault(digest, len(rows))
        if row == len(graphs):
            graphs.append((bits, ops))
            params.append(int(metrics["params"]))
        of_length = sums.setdefault(epochs, {name: array("d") for name in ("runs", "validation", "test", "seconds")})
        for name, values in of_length.items():
            values.extend([0.0] * (row + 1 - len(values)))
            values[row] += metrics[name]
        records += 1
        if records % 1000 == 0 or end == total:
            progress(end, total, f"{len(rows):,} cells")
    if not rows or max(sums) != nasbench101.EPOCHS[-1]:
        raise SearchError(f"{source}: expected cells trained for {nasbench101.EPOCHS[-1]} epochs, found {sorted(sums)}")
    order = np.array([row for _, row in sorted(rows.items())])
    means = {epochs: _means(source, epochs, values, len(rows)) for epochs, values in sums.items()}
    den = RUNS * VALIDATION_IMAGES
    longest = means[nasbench101.EPOCHS[-1]]
    arrays = {
        "adj_bits": np.array([graphs[row][0] for row in order], np.uint32),
        "n_nodes": np.array([len(graphs[row][1]) for row in order], np.uint8),
        "ops": np.array([[*graphs[row][1], *[nasbench101.NO_NODE] * (7 - len(graphs[row][1]))] for row in order], np.uint8),
        "op_names": np.array(nasbench101.PUBLISHED_OPERATORS),
        "params": np.array(params)[order].astype(np.int32),
        "test_acc_num": np.rint(longest["test"][order] * den).astype(np.uint16),
        "test_acc_den": np.int32(den),
        "val_subset_n": np.int32(len(rows)),
        "val_den": np.int32(den),
        "train_time_108": longest["seconds"][order].astype(np.float32),
    }
    for epochs, mean in means.items():
        arrays[f"val{epochs}_num"] = np.rint(mean["validation"][order] * den).astype(np.uint16)
    _write(target, arrays, nasbench101.load_table)
    return {"records": records, "cells": len(rows)}


def _parsed_record(content: bytes) -> tuple[bytes, int, int, bytes, dict[str, float]]:
    """MD5 hash, length of the training, bits of the adjacency matrix, operators, and what was measured."""
    digest, epochs, adjacency, operations, metrics = json.loads(content)
    names = nasbench101.PUBLISHED_OPERATORS
    ops = bytes(names.index(name) for name in operations.split(","))
    count = len(ops)
    if epochs not in nasbench101.EPOCHS or not 2 <= count <= nasbench101.MAX_NODES or len(adjacency) != count**2:
        raise ValueError(f"{count} nodes, {len(adjacency)} places in the adjacency matrix, {epochs!r} epochs")
    matrix = np.array([int(sign) for sign in adjacency]).reshape(count, count)
    if matrix.max() > 1 or np.tril(matrix).any() or ops[0] != 0 or ops[-1] != nasbench101.OUTPUT:
        raise ValueError(f"expected an upper triangular matrix and operators from input to output, found {operations}")
    bits = sum(1 << int(u + v * (v - 1) // 2) for u, v in np.argwhere(matrix))
    return bytes.fromhex(digest), epochs, bits, ops, _metrics(base64.b64decode(metrics, validate=True))


def _metrics(message: bytes) -> dict[str, float]:
    """Of the benchmark's message ModelMetrics: evaluations in field 1, the last one at the end of the training; params in 2.

    An evaluation has the training time in seconds in field 2, validation accuracy in 4 and test accuracy in 5.
    """
    last, params = None, None
    for number, value in message_fields(message):
        if number == 1:
            last = value
        elif number == 2:
            params = value
    if not isinstance(last, bytes) or not isinstance(params, int):
        raise ValueError("its metrics have no evaluation, or no number of parameters")
    fields = dict(message_fields(last))
    seconds, validation, test = fields[2], fields[4], fields[5]
    if not all(isinstance(value, float) and 0 <= value <= 1 for value in (validation, test)):
        raise ValueError(f"accuracies: expected 0 to 1, found {validation!r} and {test!r}")
    return {"runs": 1, "params": params, "seconds": float(seconds), "validation": float(validation), "test": float(test)}


def _means(source: Path, epochs: int, sums: dict[str, array], count: int) -> dict[str, np.ndarray]:
    runs = np.zeros(count)
    runs[: len(sums["runs"])] = sums["runs"]
    if not runs.all():
        raise SearchError(f"{source}: {int((runs == 0).sum())} of {count} cells have no training of {epochs} epochs")
    return {name: np.array(values) / runs for name, values in sums.items()}


def convert_nasbench201(source: str | os.PathLike[str], target: str | os.PathLike[str], progress: Progress) -> dict[str, int]:
    """Read the folder `NAS-Bench-201-v1_1-archive` (cell by cell) or the file `NAS-Bench-201-v1_1-096897.pth` (4.7 GB, all at
    once in memory), write the compact file; returns counts by name.

    Accuracies are percent, means over the trainings of 200 epochs of a cell. The columns cifar100 and ImageNet16-120 are
    written where the file has them, NaN for a cell that lacks them. `progress` is told cells. Files are read by
    `torch.load(weights_only=True)`, which makes plain values and tensors alone; raises SearchError for a file that needs
    more, for one that is not whole, and for NATS-Bench's `.pickle.pbz2`.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("ops", "train", "val", "valid_test", "test", "params")}
    others: dict[str, list[tuple[float, float, int]]] = {name: [] for name in OTHER_DATASETS}
    for done, (count, place, info) in enumerate(_published_cells(Path(source)), 1):
        try:
            row = _measured(info)
            for name, of_cells in others.items():
                of_cells.append(_measured_on(info["full"], name))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise SearchError(f"{place}: not as NAS-Bench-201 has it ({type(error).__name__}: {error})") from None
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
        progress(done, count)
    arrays = {
        "ops": np.array(columns["ops"], np.uint8),
        "op_names": np.array(nasbench201.OPERATORS[:-1]),
        "cifar10_train": np.array(columns["train"], np.float32),
        "cifar10_val": np.array(columns["val"], np.float32),
        "cifar10valid_test": np.array(columns["valid_test"], np.float32),
        "cifar10_test": np.array(columns["test"], np.float32),
        "cifar10_params": np.array(columns["params"], np.int32),
    }
    for name, of_cells in others.items():
        validation, test, params = (np.array(values) for values in zip(*of_cells))
        if params.all():
            arrays[f"{name}_params"] = params.astype(np.int32)
        if params.any():
            arrays[f"{name}_val"], arrays[f"{name}_test"] = validation.astype(np.float32), test.astype(np.float32)
    _write(target, arrays, nasbench201.load_table)
    return {"cells": len(columns["ops"])}


def _published_cells(source: Path) -> Iterator[tuple[int, str, Any]]:
    """For each cell: how many there are, where this one is found, and its entry."""
    if source.is_dir():
        files = sorted(source.glob("*-FULL.pth"))
        if not files:
            pickled = next(iter(sorted(source.glob("*.pickle.pbz2"))), None)
            expected = f"expected files 000000-FULL.pth ...; {nasbench201.REMEDY}"
            reason = f"{pickled.name} {NO_UNPICKLING}" if pickled else expected
            raise SearchError(f"{source}: {reason}")
        for path in files:
            yield len(files), str(path), _plain_torch_file(path)
        return
    if not source.is_file():
        raise SearchError(f"{source} does not exist; {nasbench201.REMEDY}")
    if source.suffix in (".pbz2", ".pickle", ".pkl"):
        raise SearchError(f"{source} {NO_UNPICKLING}")
    content = _plain_torch_file(source)
    infos = content.get("arch2infos") if isinstance(content, dict) else None
    if not isinstance(infos, dict) or not infos:
        raise SearchError(f"{source}: expected a dict with 'arch2infos', the results of each cell")
    for index in sorted(infos):
        yield len(infos), f"{source}: cell {index}", infos[index]


def _plain_torch_file(path: Path) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        needs = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "global" in line), "")
        objects = f"it holds objects, which would have to be run to be read ({needs})"
        reason = objects if needs else "it is damaged, or no torch file"
        raise SearchError(f"{path}: cannot be read as plain values: {reason}") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise SearchError(f"{path}: cannot be read whole: {str(error).splitlines()[0] if str(error) else error!r}") from None


def _measured(info: Any) -> tuple[list[int], float, float, float, float, int]:
    """Operators; training, validation and test accuracies; params: as the columns of `convert_nasbench201`."""
    full = info["full"]
    runs = {name: [full["all_results"][data, seed] for seed in full["dataset_seed"][data]] for name, data in DATASETS.items()}
    params = {round(float(run["params"]) * 1e6) for run in runs["whole"]}
    if len(params) != 1:
        raise ValueError(f"trainings of one cell differ in params: {sorted(params)}")
    return (
        operators_of(full["arch_str"]),
        _mean([run["train_acc1es"][int(run["epochs"]) - 1] for run in runs["whole"]]),
        _final(runs["valid"], "x-valid"),
        _final(runs["valid"], "ori-test"),
        _final(runs["whole"], "ori-test"),
        params.pop(),
    )


def _measured_on(full: Any, name: str) -> tuple[float, float, int]:
    """Validation and test accuracy, and params, on another data set; NaN, NaN and 0 where the cell was not trained on it."""
    runs = [full["all_results"][name, seed] for seed in full["dataset_seed"].get(name, ())]
    if not runs:
        return math.nan, math.nan, 0
    params = {round(float(run["params"]) * 1e6) for run in runs}
    if len(params) != 1:
        raise ValueError(f"trainings of one cell on {name} differ in params: {sorted(params)}")
    return _final(runs, "x-valid"), _final(runs, "x-test"), params.pop()


def operators_of(text: str) -> list[int]:
    """The ids on the six edges of a cell as NAS-Bench-201 writes it, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Raises ValueError for another text.
    """
    operators = [part.partition("~") for node in text.split("+") for part in node.strip("|").split("|")]
    edges = [(int(source), place) for place, node in enumerate(text.split("+"), 1) for source in _sources(node)]
    if tuple(edges) != nasbench201.EDGES:
        raise ValueError(f"expected a cell of six edges, found {text!r}")
    return [nasbench201.OPERATORS[:-1].index(name) for name, _, _ in operators]


def _sources(node: str) -> list[str]:
    return [part.partition("~")[2] for part in node.strip("|").split("|")]


def _final(runs: Sequence[dict[str, Any]], images: str) -> float:
    """Mean accuracy on these images after the last epoch, in percent."""
    return _mean([run["eval_acc1es"][f"{images}@{int(run['epochs']) - 1}"] for run in runs])


def _mean(values: Sequence[float]) -> float:
    mean = sum(map(float, values)) / len(values)
    if not 0 <= mean <= 100:
        raise ValueError(f"accuracy: expected percent, found {mean}")
    return mean


def convert_nasbench_macro(
    source: str | os.PathLike[str], target: str | os.PathLike[str], progress: Progress
) -> dict[str, int]:
    """Read `nas-bench-macro_cifar10.json`, write the compact file; returns counts by name.

    Accuracies are percent, of each of three trainings. `progress` is told stacks. Raises SearchError for what is no such file,
    and where a stack is missing, is there twice, or says another thing than one that is the same network.
    """
    source = Path(source)
    if not source.is_file():
        raise SearchError(f"{source} does not exist; {nasbench_macro.REMEDY}")
    stacks = _macro_stacks(source)
    rows = []
    for done, (stack, measured) in enumerate(stacks, 1):
        try:
            rows.append((_digits(stack), [float(value) for value in measured["test_acc"]], *_counts(measured)))
            if len(rows[-1][1]) != nasbench_macro.RUNS:
                raise ValueError(f"expected {nasbench_macro.RUNS} accuracies, found {len(rows[-1][1])}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SearchError(f"{source}: {stack!r}: not as NAS-Bench-Macro has it ({type(error).__name__}: {error})") from None
        progress(done, len(stacks))
    digits, accuracies, params, flops = zip(*rows)
    arrays = {
        "arch": np.array(digits, np.uint8),
        "op_names": np.array(nasbench_macro.BLOCKS),
        "test_acc": np.array(accuracies, np.float32),
        "params": np.array(params, np.int32),
        "flops": np.array(flops, np.int64),
    }
    _write(target, arrays, nasbench_macro.load_table)
    return {"stacks": len(rows)}


def _macro_stacks(source: Path) -> list[tuple[str, Any]]:
    """The file's entries in order, one that is there twice in both places."""
    with open_regular(source) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise SearchError(f"{source}: larger than {MAX_JSON_BYTES >> 20} MiB; {nasbench_macro.REMEDY}")
    try:
        pairs = json.loads(content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise SearchError(f"{source}: cannot be read as JSON ({error})") from None
    if not isinstance(pairs, _Pairs) or not pairs.in_order:
        raise SearchError(f"{source}: expected an object with an entry for each stack, such as '01200210'")
    return pairs.in_order


class _Pairs(dict[str, Any]):
    """An object of JSON that remembers keys that are there twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.in_order = pairs


def _digits(stack: str) -> list[int]:
    if len(stack) != nasbench_macro.LAYERS or set(stack) - set("012"):
        raise ValueError(f"expected {nasbench_macro.LAYERS} digits, each of 0, 1 and 2")
    return [int(digit) for digit in stack]


def _counts(measured: Any) -> tuple[int, int]:
    params, flops = measured["params"], measured["flops"]
    if not all(isinstance(value, int) and 0 < value < 2**31 for value in (params, flops)):
        raise ValueError(f"params and flops: expected whole numbers above 0, found {params!r} and {flops!r}")
    return params, flops


def _write(target: str | os.PathLike[str], arrays: dict[str, Any], reader: Callable[[Path], Any]) -> None:
    """Write the file whole or not at all, after reading it as a search will."""
    with replacing(target) as temporary:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, version=np.int32(VERSION), **arrays)
        reader(temporary)
