"""Read a checkpoint from anywhere without running what is in it, and find a network's weights there.

Files are safetensors, or PyTorch's read with `weights_only=True`. Training checkpoints of mmengine also pickle their log;
what is not a tensor or a plain container in them is replaced by an inert object, never built.

Where the weights lie is told by their own names: below any containers and any prefix (`state_dict`, `ema`, `module.`,
`model.student.` ...). Of averaged (EMA, SWA) and raw ones the averaged are taken, as timm does, unless the raw are asked for.
"""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from gemnet.core.errors import UserError
from gemnet.core.files import check_regular

TOLD = 8
LEVELS = 4
"""How deep containers are looked into."""
LONGEST_KEY = 500
KINDS = ("averaged", "raw")
OPTIMISER = re.compile(r"optim(?:i[sz]er)?s?(?:_|$)")
AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|averaged|avg)(?:[._]|$)")


class WeightsError(UserError):
    """A checkpoint that cannot be read or does not fit; the message names the file and the keys."""


class _Inert:
    """Takes the place of any object in a pickle that is not a weight."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> Any:
    """All of a checkpoint's tensors and plain containers. Raises WeightsError for a file missing, damaged or unsafe."""
    text = str(path)
    try:
        file = _download(text) if re.match(r"https?://", text) else Path(text).expanduser()
        check_regular(file)
        _check_kind(file)
        return safetensors.torch.load_file(file) if file.suffix == ".safetensors" else _load_inert(file, map_location)
    except FileNotFoundError:
        raise WeightsError(f"{text}: no such checkpoint") from None
    except URLError as error:
        reason = f"{getattr(error, 'code', '')} {error.reason}".strip()
        raise WeightsError(f"{text}: cannot be fetched ({reason}); without a network, give a file") from error
    except Exception as error:  # a damaged pickle raises anything
        lines = str(error).strip().splitlines()
        first = lines[0] if lines and not isinstance(error, KeyError) else type(error).__name__
        raise WeightsError(f"{text}: not a checkpoint that can be read safely ({first})") from error


def _check_kind(file: Path) -> None:
    """Raises ValueError for an empty file, and for TorchScript, whose code `torch.load` would want to run."""
    if file.stat().st_size == 0:
        raise ValueError("it is empty: fetch or save it again")
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError("a TorchScript file: take the checkpoint that it was made from")


def _download(address: str) -> Path:
    """Fetch once into torch.hub's cache, under a name that belongs to the whole address."""
    name = hashlib.sha256(address.encode()).hexdigest()[:16] + "-" + address.rsplit("/", 1)[-1]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(file))
    return file


def _load_inert(path: Path, map_location: Any) -> Any:
    """`torch.load(weights_only=True)`; of other classes that the pickle names, numpy's data are built, the rest is inert."""
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except ValueError:  # an old file that is no zip archive
            raise error from None
    try:
        kinds = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]
        with torch.serialization.safe_globals([*kinds, *((_numpy_data(name) or _Inert, name) for name in names)]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"it asks for {', '.join(sorted(names)[:TOLD]) or 'what no weights need'}") from error


def _numpy_data(name: str) -> Any:
    """What numpy's arrays, scalars and data types are pickled with; None for anything else."""
    attribute = name.rpartition(".")[2]
    if name in ("numpy.ndarray", "numpy.dtype"):
        return getattr(np, attribute)
    if re.fullmatch(r"numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)", name):
        package = "numpy._core" if hasattr(np, "_core") else "numpy.core"
        return getattr(import_module(f"{package}.multiarray"), attribute)
    return None


@dataclass(frozen=True, eq=False)
class Held:
    """Weights that a checkpoint holds: of the tensors in the container `path`, those whose keys begin with `prefix`."""

    path: tuple[str, ...]
    prefix: str
    container: Mapping[str, Tensor]
    averaged: bool

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Key without the prefix -> tensor."""
        start = len(self.prefix)
        return {key[start:]: value for key, value in self.container.items() if key.startswith(self.prefix)}

    @property
    def place(self) -> str:
        """Containers and prefix joined by dots, as `state_dict.backbone`."""
        return ".".join([*self.path, self.prefix]).rstrip(".")

    def is_at(self, place: str) -> bool:
        """Whether `place` is the prefix, or the end of the place."""
        place = place.strip(".")
        return place == self.prefix.rstrip(".") or (bool(place) and f".{self.place}".endswith(f".{place}"))


@dataclass(frozen=True)
class Taken:
    """The weights that were taken from a checkpoint, and others of the same network in it. Printed, it is a line for people."""

    source: str
    held: Held
    others: tuple[Held, ...] = ()
    progress: str = ""

    def __str__(self) -> str:
        kind, other = KINDS if self.held.averaged else KINDS[::-1]
        beside = [held.place or "no prefix" for held in self.others if held.averaged != self.held.averaged]
        what = f"the {kind} weights" if beside or self.held.averaged else "the weights"
        place = f" under {self.held.place}" if self.held.place else ""
        told = f"{other} ones are under {', '.join(beside)} (--weights {other})" if beside else f"there are no {other} ones"
        return f"{self.source}: took {what}{place}{self.progress}; {told}"


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a checkpoint: a file, or an http(s) address. Of averaged and plain weights, the averaged ones.

    Raises WeightsError for a file that is missing, damaged, holds no weights, or wants code to be run.
    """
    return plain_tensors(path, _largest(path, containers(read_checkpoint(path))).tensors)


def plain_tensors(source: str | os.PathLike[str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`; raises WeightsError where one is sparse, quantised, complex or without data, or not finite."""
    odd = [key for key, value in tensors.items() if not _is_plain(value)]
    if odd:
        raise WeightsError(f"{source}: {', '.join(odd[:TOLD])}: no weights to load; expected plain tensors of real numbers")
    diverged = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if diverged:
        told = f"NaN or infinity in {len(diverged)} of {len(tensors)} weights, first {', '.join(diverged[:TOLD])}"
        raise WeightsError(f"{source}: {told}: the training diverged; take an earlier checkpoint")
    return tensors


def _is_plain(value: Tensor) -> bool:
    special = value.is_nested or value.is_quantized or value.is_meta or value.is_complex()
    return not special and value.layout == torch.strided


def containers(checkpoint: Any) -> list[Held]:
    """Every container of a checkpoint that holds tensors, but an optimiser's."""
    found: list[Held] = []
    swapped = _swapped_by_mmengine(checkpoint)
    seen: set[int] = set()  # a hostile file may hold itself

    def walk(mapping: Mapping[Any, Any], path: tuple[str, ...]) -> None:
        if id(mapping) in seen:
            return
        seen.add(id(mapping))
        tensors = {key: value for key, value in mapping.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if tensors:
            averaged = bool(AVERAGED.search(".".join(path))) or "n_averaged" in tensors  # as torch's AveragedModel counts
            found.append(Held(path, "", tensors, swapped.get(path[0], averaged) if path else averaged))
        if len(path) < LEVELS:
            for key, value in mapping.items():
                if isinstance(key, str) and isinstance(value, Mapping) and not OPTIMISER.match(key):
                    walk(value, (*path, key))

    if isinstance(checkpoint, Mapping):
        walk(checkpoint, ())
    return found


def _swapped_by_mmengine(checkpoint: Any) -> dict[str, bool]:
    """Which containers are averaged where mmengine's EMAHook has exchanged the two: its `state_dict` are the averaged weights,
    to be deployed, and its `ema_state_dict`, which counts `steps`, the raw ones."""
    average = checkpoint.get("ema_state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(average, Mapping):
        return {}
    meta = checkpoint.get("meta")
    of_mmengine = "steps" in average or (isinstance(meta, Mapping) and "mmengine_version" in meta)
    return {"state_dict": True, "ema_state_dict": False} if of_mmengine else {}


def _largest(source: str | os.PathLike[str], held: list[Held]) -> Held:
    if not held:
        raise WeightsError(
            f"{source}: holds no weights as tensors; expected a state dict, as torch.save(model.state_dict(), FILE) writes, or "
            "one in a container as state_dict"
        )
    return max(held, key=lambda one: (one.averaged, len(one.container)))


def find(
    source: str | os.PathLike[str],
    checkpoint: Any,
    names: Collection[str],
    prefix: str | None = None,
    kind: str | None = None,
) -> Taken:
    """The weights of a network, whose keys are `names`, in a checkpoint; where none is there, the largest container.

    prefix: where they are, as `student.` or `state_dict.student`; None finds out. kind: `averaged` or `raw`; None takes the
    averaged ones where both are whole. Raises WeightsError where none are at the prefix or of the kind, and, with the
    candidates, where there are several and nothing tells which.
    """
    if kind not in (None, *KINDS):
        raise WeightsError(f"weights={kind!r}: expected {' or '.join(KINDS)}")
    held = containers(checkpoint)
    largest, progress = _largest(source, held), _progress(checkpoint)
    found = {one: number for container in held for one, number in _below(container, names)}  # -> how many of the names
    places = _told(found or {one: len(one.container) for one in held})
    if prefix is not None:
        found = {one: number for one, number in found.items() if one.is_at(prefix)} or _at(held, prefix)
        if not found:
            raise WeightsError(f"{source}: nothing is under the prefix {prefix!r}; there are {places}")
    if not found:
        return Taken(str(source), largest, progress=progress)
    wanted = {one: number for one, number in found.items() if kind is None or one.averaged == (kind == "averaged")}
    if not wanted:
        raise WeightsError(f"{source}: holds no {kind} weights; there are {places}")
    whole = [one for one, number in wanted.items() if number == max(wanted.values())]
    best, *more = [one for one in whole if one.averaged] or whole
    if not all(_equal(best, other) for other in more):
        told = _told({one: wanted[one] for one in (best, *more)})
        raise WeightsError(f"{source}: holds several of this network: {told}; name one with prefix= (--prefix {best.place})")
    others = tuple(one for one, number in found.items() if one not in (best, *more) and number >= wanted[best])
    return Taken(str(source), best, others, progress)


def _below(container: Held, names: Collection[str]) -> list[tuple[Held, int]]:
    """The parts of a container whose keys, without a prefix, are among `names`, each with how many of them; those with less
    than half as many as the best are chance."""
    counts: Counter[str] = Counter()
    for key in container.container:
        if len(key) <= LONGEST_KEY and not key.endswith("num_batches_tracked"):
            starts = [0, *(match.end() for match in re.finditer(r"[._]", key))]
            counts.update(key[:start] for start in starts if key[start:] in names)
    found = []
    for prefix, number in counts.items():
        if 2 * number >= max(counts.values()):
            averaged = container.averaged or bool(AVERAGED.search(prefix))
            found.append((Held(container.path, prefix, container.container, averaged), number))
    return found


def _at(held: list[Held], place: str) -> dict[Held, int]:
    """What lies at a place, though it has none of the network's names."""
    prefix = place.strip(".") and place.strip(".") + "."
    parts = [Held(one.path, prefix, one.container, one.averaged) for one in held] if prefix else held
    return {part: 0 for part in parts if part.tensors}


def _equal(one: Held, two: Held) -> bool:
    a, b = one.tensors, two.tensors
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _told(held: Mapping[Held, int]) -> str:
    return ", ".join(f"{one.place or 'those without a prefix'} ({number} weights)" for one, number in held.items())


def _progress(checkpoint: Any) -> str:
    """ ", epoch 3, iteration 900", as far as the checkpoint tells."""
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    sources = [source for source in (meta, checkpoint) if isinstance(source, Mapping)]
    told = ""
    for name, keys in (("epoch", ["epoch"]), ("iteration", ["iter", "iteration", "global_step"])):
        numbers = [source[key] for source in sources for key in keys if type(source.get(key)) is int]
        told += f", {name} {numbers[0]}" if numbers else ""
    return told


def trained_backbone(checkpoint: Any) -> dict[str, Any]:
    """The plain settings of the `gemnet.GEMNet` in the config that mmengine's checkpoint keeps as text; the text is not run."""
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        tree = ast.parse(text) if isinstance(text, str) else ast.Module([], [])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            given = [(word.arg, word.value) for word in node.keywords]
            settings = {name: value.value for name, value in given if name and isinstance(value, ast.Constant)}
            if settings.get("type") == "gemnet.GEMNet":
                return settings
    return {}
