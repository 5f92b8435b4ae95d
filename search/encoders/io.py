"""Trained encoders as files: `encoder.safetensors` with the weights, `encoder.json` with everything else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gemnet.core.files import check_regular, read_text, replacing
from search.core.types import SearchError

WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
FORMAT, VERSION = "gemnet.encoder", 1
Restored = TypeVar("Restored", bound="Savable")


class DescribedSpace(Protocol):
    """What an encoder depends on of its space."""

    @property
    def num_nodes(self) -> int: ...

    @property
    def operators(self) -> tuple[str, ...]: ...


class Savable(Protocol):
    """An encoder, as its files tell of it.

    name: its type, by which it is built again. settings: JSON values. metrics: figures of merit by name.
    """

    name: str
    metrics: dict[str, float]

    @property
    def space(self) -> DescribedSpace: ...

    @property
    def settings(self) -> dict[str, Any]: ...

    def weights(self) -> dict[str, torch.Tensor]: ...

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None: ...


def save_encoder(directory: str | os.PathLike[str], encoder: Savable) -> None:
    """Write both files; the description last, so that where it is, the encoder is whole."""
    weights, directory = encoder.weights(), Path(directory)  # what is not trained raises before anything is written
    directory.mkdir(parents=True, exist_ok=True)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "type": encoder.name,
        "settings": encoder.settings,
        "space": describe(encoder.space),
        "metrics": encoder.metrics,
    }
    content = save({key: value.detach().cpu().contiguous() for key, value in weights.items()})
    for file, data in ((WEIGHTS, content), (DESCRIPTION, json.dumps(description, indent=1).encode())):
        with replacing(directory / file) as temporary:
            temporary.write_bytes(data)


def read_description(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `encoder.json` tells. Raises SearchError, naming the file, where it is none."""
    path = Path(directory) / DESCRIPTION
    check_files(directory)
    try:
        description = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SearchError(f"{path}: cannot be read as an encoder's description: {error}") from None
    kinds = {"format": str, "version": int, "type": str, "settings": dict, "space": dict, "metrics": dict}
    if not isinstance(description, dict) or any(not isinstance(description.get(k), kind) for k, kind in kinds.items()):
        raise SearchError(f"{path}: expected an object with {', '.join(kinds)}")
    if (description["format"], description["version"]) != (FORMAT, VERSION):
        raise SearchError(f"{path}: expected format {FORMAT!r}, version {VERSION}")
    for name, value in description["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SearchError(f"{path}: metrics: {name}: expected a number, found {str(value)[:40]!r}")
    return description


def read_encoder(directory: str | os.PathLike[str], space: DescribedSpace) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The description and the weights. Raises SearchError, naming the file, for whatever is not a saved encoder of `space`."""
    description, path = read_description(directory), Path(directory) / DESCRIPTION
    if description["space"] != describe(space):
        raise SearchError(f"{path}: trained for the space {description['space']}, not {describe(space)}; train it anew")
    path = Path(directory) / WEIGHTS
    try:
        # Copied to where torch aligns its memory: as the file has them, matrix products may differ in the last digit.
        check_regular(path)
        weights = {key: value.clone() for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise SearchError(f"{path}: cannot be read as safetensors: {error}") from None
    for key, value in weights.items():
        if value.dtype != torch.float32 or not torch.isfinite(value).all():
            raise SearchError(f"{path}: {key}: expected finite float32 values")
    return description, weights


def check_files(directory: str | os.PathLike[str]) -> None:
    """Raises SearchError where one of the two files is a directory or a pipe, which would be waited for."""
    for name in (DESCRIPTION, WEIGHTS):
        path = Path(directory) / name
        if os.path.lexists(path) and not path.is_file():
            raise SearchError(f"{path}: is no file")


def files_digest(directory: str | os.PathLike[str]) -> str:
    """64 hexadecimal digits of what both files of an encoder hold."""
    found = hashlib.sha256()
    for name in (DESCRIPTION, WEIGHTS):
        found.update((Path(directory) / name).read_bytes())
    return found.hexdigest()


def check_settings_of(directory: str | os.PathLike[str], wanted: Mapping[str, Any]) -> None:
    """Raises SearchError where an encoder that was read has other settings than `wanted`, as a config names them."""
    path = Path(directory) / DESCRIPTION
    description = read_description(directory)
    there = {**description["settings"], "type": description["type"]}
    for name, value in wanted.items():
        if name in there and there[name] != value:
            raise SearchError(f"{path}: of another search: {name}: expected {value!r}, found {there[name]!r}")


def restored(
    directory: str | os.PathLike[str], space: DescribedSpace, build: Callable[[str, dict[str, Any]], Restored]
) -> Restored:
    """A saved encoder, with its weights and metrics; build: its type and settings -> one without weights.

    Raises SearchError, naming the file, as `read_encoder` does, for what `build` refuses, and for weights of another network.
    """
    description, weights = read_encoder(directory, space)
    try:
        encoder = build(description["type"], description["settings"])
    except (SearchError, TypeError) as error:  # a setting's name may be that of another argument
        raise SearchError(f"{Path(directory) / DESCRIPTION}: {error}") from None
    try:
        encoder.load_weights(weights)
    except RuntimeError as error:
        reason = str(error).replace("\n\t", " ")
        raise SearchError(f"{Path(directory) / WEIGHTS}: not the weights of this encoder: {reason}") from None
    encoder.metrics = description["metrics"]
    return encoder


def describe(space: DescribedSpace) -> dict[str, Any]:
    """What an encoder depends on of its space."""
    return {"num_nodes": space.num_nodes, "operators": list(space.operators)}
