"""The published files, made small by a writer of our own, as compact files."""

import base64
import json
import math
import os
import pickle
import re
import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_tables import MADE_CELLS, PUBLISHED

from search.core.types import SearchError
from search.experiments.convert.conversion import convert_nasbench101, convert_nasbench201, operators_of
from search.experiments.convert.tfrecord import crc32c, masked_crc32c, message_fields, read_records
from search.spaces.nasbench101 import load_table
from search.spaces.nasbench201 import load_table as load_table_201

ROOT = Path(__file__).parents[4]
LENGTHS = (4, 12, 36, 108)


def varint(value):
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def evaluation(epoch, seconds, validation, test):
    fields = enumerate([epoch, seconds, 0.99, validation, test], 1)
    return b"".join(field(number, float(value)) for number, value in fields) + field(6, b"model.ckpt-1")


def metrics(epochs, validation, test, params):
    parts = [evaluation(0, 0, 0.1, 0.1), evaluation(epochs / 2, 50, 0.5, 0.5), evaluation(epochs, 100, validation, test)]
    return b"".join(field(1, part) for part in parts) + field(2, params) + field(3, 123.4)


def framed(content):
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc32c(length)) + content + struct.pack("<I", masked_crc32c(content))


def accuracy(row, run, epochs):
    return (5000 + 100 * row + 7 * run + epochs) / 9984


def record(row, run, epochs, digest=None):
    inner, edges = MADE_CELLS[row]
    count = len(inner) + 2
    matrix = np.zeros((count, count), int)
    matrix[tuple(np.array(edges).T)] = 1
    validation = accuracy(row, run, epochs)
    content = [
        digest or f"{1000 - row:032x}",  # the order of the hashes is against that of the rows
        epochs,
        "".join(map(str, matrix.ravel())),
        ",".join(PUBLISHED[i] for i in [0, *inner, 4]),
        base64.b64encode(metrics(epochs, validation, validation - 0.1, 1000 + row)).decode(),
    ]
    return framed(json.dumps(content).encode())


def published101(path, lengths=LENGTHS, rows=range(12)):
    path.write_bytes(b"".join(record(row, run, epochs) for row in rows for epochs in lengths for run in range(3)))
    return path


def no_progress(*_):
    pass


def test_checksums_are_those_of_the_standard():
    # RFC 3720, B.4: 32 bytes of zeros, of ones, ascending; and the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


def test_fields_of_a_message_come_in_order():
    message = field(1, b"ab") + field(2, 300) + field(3, 1.5) + varint(4 << 3 | 5) + struct.pack("<f", 0.5)
    assert list(message_fields(message)) == [(1, b"ab"), (2, 300), (3, 1.5), (4, 0.5)]
    for broken in (message[:-1], b"\x0a\x05ab", b"\x80", b"\x80" * 11 + b"\x01", b"\x0b"):
        with pytest.raises(ValueError, match=r"cut off|more than 10 bytes|unknown wire type"):
            list(message_fields(broken))


@pytest.mark.parametrize("lengths", [(108,), LENGTHS])
def test_a_published_file_of_nasbench101_becomes_a_table_in_the_order_of_the_hashes(lengths, tmp_path):
    seen = []
    source = published101(tmp_path / "nasbench.tfrecord", lengths)
    target = tmp_path / "nasbench101.npz"
    counts = convert_nasbench101(source, target, lambda done, total, note="": seen.append((done, total)))
    count = len(MADE_CELLS)
    assert counts == {"records": 3 * count * len(lengths), "cells": count}
    assert seen[-1] == (source.stat().st_size,) * 2
    assert sorted(os.listdir(tmp_path)) == ["nasbench.tfrecord", "nasbench101.npz"]
    table = load_table(target)
    assert table.epochs == lengths
    assert table.params.tolist() == [1000 + row for row in reversed(range(count))]
    for place, row in enumerate(reversed(range(count))):
        inner, edges = MADE_CELLS[row]
        assert list(map(tuple, np.argwhere(table.adjacency[place]).tolist())) == sorted(edges)
        assert table.operators[place, : len(inner) + 2].tolist() == [0, *inner, 4]
        means = [np.mean([accuracy(row, run, epochs) for run in range(3)]) for epochs in lengths]
        assert table.curves[place] == pytest.approx(means, abs=1e-9)
    assert table.test_accuracy() == pytest.approx(table.validation_accuracy - 0.1, abs=2e-5)


def test_a_file_that_is_cut_off_or_damaged_is_an_error_that_names_the_place(tmp_path):
    source = published101(tmp_path / "nasbench.tfrecord", (108,), range(3))
    content, target = source.read_bytes(), tmp_path / "nasbench101.npz"
    first = len(record(0, 0, 108))
    for size, place in ((first + 5, first), (first + 20, first), (len(content) - 1, None)):
        source.write_bytes(content[:size])
        with pytest.raises(SearchError, match=f"byte {place or ''}.*the file ends within a record"):
            convert_nasbench101(source, target, no_progress)
    for place in (3, 9, 40, first - 2, first + 1):
        source.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(SearchError, match=r"byte \d+: the checksum of a record"):
            convert_nasbench101(source, target, no_progress)
    huge = struct.pack("<Q", 2**40)
    source.write_bytes(huge + struct.pack("<I", masked_crc32c(huge)))
    with pytest.raises(SearchError, match="expected at most 16777216"):
        list(read_records(source))
    assert not target.exists()


def test_records_that_are_none_of_nasbench101_are_refused(tmp_path):
    source, target = tmp_path / "nasbench.tfrecord", tmp_path / "nasbench101.npz"
    good = json.loads(record(4, 0, 108)[12:-4])
    broken = [
        [*good[:4], "%%%"],
        [*good[:4], base64.b64encode(field(2, 5)).decode()],
        [*good[:4], base64.b64encode(metrics(108, 1.5, 0.5, 10)).decode()],
        [*good[:2], good[2][::-1], *good[3:]],
        [*good[:2], good[2][1:], *good[3:]],
        [*good[:3], "input,conv5x5,output,output", good[4]],
        ["xyz", *good[1:]],
        [good[0], 50, *good[2:]],
        good[:3],
        {},
    ]
    for content in (json.dumps(value).encode() for value in broken):
        source.write_bytes(record(0, 0, 108) + framed(content))
        with pytest.raises(SearchError, match=r"nasbench.tfrecord: record 1 is none of NAS-Bench-101: "):
            convert_nasbench101(source, target, no_progress)
    source.write_bytes(record(0, 0, 108) + record(0, 0, 36) + record(1, 0, 108))
    with pytest.raises(SearchError, match="1 of 2 cells have no training of 36 epochs"):
        convert_nasbench101(source, target, no_progress)
    source.write_bytes(record(0, 0, 36))
    with pytest.raises(SearchError, match=r"expected cells trained for 108 epochs, found \[36\]"):
        convert_nasbench101(source, target, no_progress)
    assert not target.exists()


CELL_201 = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"


def test_operators_of_a_cell_are_read_in_the_order_of_its_edges():
    assert operators_of(CELL_201) == [3, 0, 1, 4, 2, 3]
    for text in ("", "|none~0|", CELL_201.replace("~2", "~1"), CELL_201.replace("none", "nil")):
        with pytest.raises(ValueError, match=r"six edges|invalid literal|not in"):
            operators_of(text)


def entry201(shift, number=float):
    def run(name, test_images):
        images = ("x-valid", "ori-test") if name == "cifar10-valid" else ("ori-test",)
        last = {"x-valid": 80.0, "ori-test": test_images}
        return {
            "name": "infer.tiny",
            "net_state_dict": None,
            "train_acc1es": {e: float(e) / 2 for e in range(200)},
            "params": number(0.1 + shift / 100),
            "epochs": 200,
            "eval_acc1es": {f"{i}@{e}": last[i] - (199 - e) / 10 + shift for i in images for e in range(200)},
        }

    results = {("cifar10-valid", 777): run("cifar10-valid", 81.0), ("cifar10", 777): run("cifar10", 90.0)}
    results["cifar10", 888] = run("cifar10", 92.0)
    full = {
        "arch_index": shift,
        "arch_str": CELL_201.replace("none", ["none", "skip_connect"][shift]),
        "all_results": results,
        "dataset_seed": {"cifar10-valid": [777], "cifar10": [777, 888]},
    }
    return {"full": full, "less": {}}


@pytest.mark.parametrize("number", [float, np.float64])
@pytest.mark.parametrize("form", ["file", "old file", "folder"])
def test_a_published_file_of_nasbench201_becomes_a_table(form, number, tmp_path):
    if form == "folder":
        source = tmp_path / "archive"
        source.mkdir()
        for i in range(2):
            torch.save(entry201(i, number), source / f"{i:06d}-FULL.pth")
    else:
        source = tmp_path / "NAS-Bench-201.pth"
        content = {"meta_archs": [], "arch2infos": {i: entry201(i, number) for i in range(2)}, "evaluated_indexes": [0, 1]}
        torch.save(content, source, _use_new_zipfile_serialization=form == "file")
        if form == "old file":  # as a numpy of that time wrote it
            source.write_bytes(source.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    target = tmp_path / "nasbench201.npz"
    assert convert_nasbench201(source, target, no_progress) == {"cells": 2}
    table = load_table_201(target)
    assert table.operators[:, 1:-1].tolist() == [[4, 1, 2, 5, 3, 4], [4, 2, 2, 5, 3, 4]]
    assert table.validation_accuracy == pytest.approx([0.80, 0.81])
    assert table.test_accuracy() == pytest.approx([0.91, 0.92])
    assert table.params.tolist() == [100_000, 110_000]


def test_other_data_sets_of_nasbench201_become_columns(tmp_path):
    entries = [entry201(0), entry201(1)]
    for cell, entry in enumerate(entries):
        for name in ("cifar100", "ImageNet16-120")[: 2 - cell]:  # the second cell was not trained on ImageNet16-120
            runs = {seed: 50.0 + 2 * (seed == 888) + cell for seed in (777, 888)}
            entry["full"]["dataset_seed"][name] = list(runs)
            for seed, accuracy in runs.items():
                measured = {"x-valid@199": accuracy, "x-test@199": accuracy + 10}
                run = {"params": 0.2 + cell / 100, "epochs": 200, "eval_acc1es": measured}
                entry["full"]["all_results"][name, seed] = run
    torch.save({"arch2infos": dict(enumerate(entries))}, tmp_path / "published.pth")
    target = tmp_path / "nasbench201.npz"
    convert_nasbench201(tmp_path / "published.pth", target, no_progress)
    table = load_table_201(target, "cifar100")
    assert table.validation_accuracy == pytest.approx([0.51, 0.52])
    assert table.test_accuracy() == pytest.approx([0.61, 0.62])
    assert table.params.tolist() == [200_000, 210_000]
    with np.load(target) as arrays:
        assert arrays["ImageNet16-120_val"] == pytest.approx([51.0, math.nan], nan_ok=True)
        assert arrays["ImageNet16-120_test"] == pytest.approx([61.0, math.nan], nan_ok=True)
        assert "ImageNet16-120_params" not in arrays


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"arch2infos": {0: Evil()}}, tmp_path / "evil.pth")
    with pytest.raises(SearchError, match="it holds objects, which would have to be run to be read"):
        convert_nasbench201(tmp_path / "evil.pth", tmp_path / "out.npz", no_progress)
    (tmp_path / "tss").mkdir()
    (tmp_path / "tss/000000.pickle.pbz2").write_bytes(pickle.dumps(Evil()))
    for source in (tmp_path / "tss", tmp_path / "tss/000000.pickle.pbz2"):
        with pytest.raises(SearchError, match=r"000000\.pickle\.pbz2 is a pickle of Python objects.*which hold plain values"):
            convert_nasbench201(source, tmp_path / "out.npz", no_progress)
    assert not (tmp_path / "executed").exists()


def test_files_that_are_not_nasbench201s_are_refused(tmp_path):
    source, target = tmp_path / "some.pth", tmp_path / "nasbench201.npz"
    torch.save({"arch2infos": {0: entry201(0)}}, source)
    content = source.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        source.write_bytes(content[:size])
        with pytest.raises(SearchError, match=re.escape(str(source))):
            convert_nasbench201(source, target, no_progress)
    for value, message in (
        ([1], "expected a dict with 'arch2infos'"),
        ({"arch2infos": {0: {"full": {}}}}, r"cell 0: not as NAS-Bench-201 has it \(KeyError"),
        ({"arch2infos": {0: 5}}, "not as NAS-Bench-201 has it"),
    ):
        torch.save(value, source)
        with pytest.raises(SearchError, match=message):
            convert_nasbench201(source, target, no_progress)
    with pytest.raises(SearchError, match=r"expected files 000000-FULL\.pth"):
        convert_nasbench201(tmp_path, target, no_progress)
    assert not target.exists()


@pytest.fixture
def tool(monkeypatch, capsys):
    """Runs tools/convert_benchmark.py in this process: its imports alone take seconds."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_benchmark.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "tools/convert_benchmark.py"), run_name="__main__")
        return (end.value.code, *capsys.readouterr())

    return run


def test_the_tool_converts_and_says_in_one_line_what_is_wrong(tool, tmp_path):
    source, target = published101(tmp_path / "nasbench.tfrecord", (108,)), tmp_path / "nasbench101.npz"
    code, out, _ = tool("nasbench101", source, target)
    assert code == 0
    assert "nasbench101.npz: 36 records, 12 cells" in out
    source.write_bytes(source.read_bytes()[:-3])
    code, _, error = tool("nasbench101", source, tmp_path / "other.npz")
    assert code == 1
    assert re.fullmatch(r"convert_benchmark: .*the file ends within a record.*\n", error)
    code, _, error = tool("nasbench101", source, tmp_path / "other.json")
    assert (code, error) == (1, f"convert_benchmark: {tmp_path}/other.json: expected a file .npz to write\n")
    assert sorted(os.listdir(tmp_path)) == ["nasbench.tfrecord", "nasbench101.npz"]
    code, out, _ = tool("--help")
    assert code == 0
    assert out.count("python tools/convert_benchmark.py") == 5
