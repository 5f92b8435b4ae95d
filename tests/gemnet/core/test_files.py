"""Files that anyone may have put there: of another kind than expected, in another encoding, or too large."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

import pytest

from gemnet import Cell, CellError
from gemnet.core.files import TextError, read_text
from gemnet.weights import WeightsError, read_checkpoint
from search.core.json_lines import Format, Store
from search.core.types import SearchError
from search.encoders.svge.graph_files import read_enas
from search.record.export import read_record
from search.spaces.benchmark_files import read_arrays


def made(kind: str, path: Path) -> Path:
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))  # a socket's path may have some hundred characters
    return path


KINDS = ["a FIFO", "a directory", "a device", "a socket"]
READERS = {
    "cell.json": (Cell.load, CellError),
    "record.jsonl": (read_record, SearchError),
    "rows.jsonl": (lambda path: Store(path, Format(dict, str, ", line {number}")), SearchError),
    "graphs.txt": (read_enas, SearchError),
    "arrays.npz": (lambda path: read_arrays(path, {}), SearchError),
    "weights.pth": (read_checkpoint, WeightsError),
    "weights.safetensors": (read_checkpoint, WeightsError),
}
CASES = set(itertools.product(READERS, KINDS)) - {
    ("record.jsonl", "a directory")
}  # a directory is a work directory, whatever its name


@pytest.mark.parametrize(("name", "kind"), sorted(CASES))
def test_what_is_no_regular_file_is_told_and_never_waited_for(name, kind, tmp_path):
    read, error = READERS[name]
    path = made(kind, tmp_path / name)
    with pytest.raises(error) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert f"is {kind}, not a file" in str(caught.value)


def test_a_cell_file_with_a_byte_order_mark_is_read(tmp_path):
    cell = Cell.shipped("gemnet_a")
    path = tmp_path / "cell.json"
    path.write_text(cell.to_json(), encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert Cell.load(path) == cell
    assert Cell.from_json(path.read_text(encoding="utf-8")) == cell  # where the reader left the mark in the text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_read_with_and_without_a_byte_order_mark(encoding, tmp_path):
    (tmp_path / "a.txt").write_text("größe\n", encoding=encoding)
    assert read_text(tmp_path / "a.txt") == "größe\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_told_with_the_remedy(encoding, tmp_path):
    (tmp_path / "a.txt").write_text("size\n", encoding=encoding)
    with pytest.raises(TextError, match=rf"a\.txt: {encoding[:6].upper()} text, not UTF-8; save it again as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_a_file_over_the_limit_is_not_read_whole(tmp_path):
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(1 << 40)  # sparse: nothing could hold it
    with pytest.raises(TextError, match=r"large\.txt: larger than 1 MiB"):
        read_text(tmp_path / "large.txt", 1 << 20)


@pytest.mark.parametrize("name", ["missing.txt", "nul\0.txt"])
def test_a_name_that_leads_nowhere_is_told(name):
    with pytest.raises(TextError, match=r"No such file|null (byte|character)"):
        read_text(name)
