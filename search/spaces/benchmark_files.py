"""The compact files of the benchmarks: where they lie, and reading them as what they are, files from outside."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemnet.core.files import check_regular
from search.core.types import SearchError

ENVIRONMENT = "GEMNET_DATA"
VERSION = 1
MAX_BYTES = 2**30
"""Of all arrays of a file: far more than a benchmark has, and no more than is read without harm."""


def find_file(name: str, data: str | os.PathLike[str] | None, remedy: str) -> Path:
    """The path of the compact file `name`.

    data: the file, or the folder that holds it; where it is None, the folder in the environment variable GEMNET_DATA, else
    `data` in the working directory. Raises SearchError, with `remedy`, where the file is not there.
    """
    folder = os.environ.get(ENVIRONMENT)
    if data is not None:
        place = Path(os.path.expanduser(data))
    else:
        place = Path(folder or "data")
    path = place / name if place.is_dir() else place
    if path.is_file():
        return path
    looked = path if data is not None or folder else place / name
    where = f"by {ENVIRONMENT}, by space.data in a search, by --data elsewhere"
    raise SearchError(f"{looked} does not exist; name the file or its folder {where}. {remedy}")


def read_arrays(path: Path, kinds: Mapping[str, tuple[str, int]], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an npz file by name; nothing in it is unpickled.

    kinds: for each array the kind of its elements as numpy writes it ("u" unsigned, "i" signed, "f" floating, "U" text; "ui"
    for either) and its number of dimensions. optional: those that may be missing. Raises SearchError, naming the file and what
    was expected, for everything else.
    """
    expected = ", ".join(kinds)
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise SearchError(f"{path}: its arrays are larger than {MAX_BYTES >> 20} MiB; expected {expected}")
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files)
            version = int(archive["version"]) if "version" in names else VERSION
            if version != VERSION:
                raise SearchError(f"{path}: version: expected {VERSION}, found {version}; a newer file needs a newer gemnet")
            missing = [name for name in kinds if name not in names and name not in optional]
            if missing:
                raise SearchError(f"{path}: the array {missing[0]!r} is missing; expected {expected}")
            arrays = {name: archive[name] for name in kinds if name in names}
    except SearchError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise SearchError(f"{path}: cannot be read whole as npz ({error}); expected the arrays {expected}") from None
    except MemoryError:
        raise SearchError(f"{path}: an array does not fit into memory; expected {expected}") from None
    for name, array in arrays.items():
        kind, dimensions = kinds[name]
        if array.dtype.kind not in kind or array.ndim != dimensions:
            raise SearchError(
                f"{path}: {name}: expected {dimensions} dimensions of kind {kind!r}, found {array.ndim} of {array.dtype.kind!r}"
            )
    return arrays


def array_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays of an npz file. Raises SearchError for what is none."""
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SearchError(f"{path}: cannot be read whole as npz ({error})") from None


def check(path: Path, good: Any, name: str, expected: str) -> None:
    """Raises SearchError where `good` is false, or false anywhere in an array, whose first such row is named."""
    good = np.asarray(good, bool)
    if not good.all():
        row = f", row {int(np.argmin(good.reshape(len(good), -1).all(1)))}" if good.ndim else ""
        raise SearchError(f"{path}: {name}{row}: expected {expected}")


def check_once(path: Path, name: str, numbers: np.ndarray, shown: Callable[[int], str]) -> None:
    """Raises SearchError where two rows have the same of `numbers`, int [N]; the first such row is named, as `shown` says."""
    order = np.argsort(numbers, kind="stable")
    again = np.flatnonzero(numbers[order][1:] == numbers[order][:-1])
    if len(again):
        row = int(order[again + 1].min())
        before = int(np.flatnonzero(numbers == numbers[row])[0])
        raise SearchError(f"{path}: {name}: {shown(row)} is there twice, in rows {before} and {row}; expected each once")
