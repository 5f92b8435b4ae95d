"""The candidates of a search as files for a device, with the scripts that time them there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.complexity import BudgetError, fit
from gemnet.core.files import TextError, read_text, save_text
from gemnet.core.settings import expected_name
from gemnet.deploy.export import export
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.network import GEMNet
from search.core.display import Display
from search.core.types import SearchError
from search.devices.times import whole_network
from search.record.export import read_record
from search.record.ranking import best_first
from search.spaces.dag import build_space

FORMAT, VERSION = "gemnet.device_candidates", 1
MANIFEST, SCRIPTS = "manifest.json", ("time_models.py", "time_adb.sh")
SHOWN = 16
"""Digits of a cell's digest in the names of its files."""
DRAWN, DRAWS = 512, 50
"""Random cells that are drawn at once, and how often that is done at most."""


def export_devices(
    directory: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    top: int = 50,
    form: str = "onnx",
    random: int = 0,
    seed: int = 0,
    display: Display | None = None,
    network: Mapping[str, Any] | None = None,
) -> int:
    """Write the networks of a search's best cells, and of random ones of its space, with the scripts that time them.

    Each network is that of the search's section `model`. Its weights are random: time does not hang on them. What an earlier
    call with the same network and runtime has written stays.

    Args:
        directory: of the search, or an exported record.
        out: the folder; `devices` in the directory if None.
        top: best cells of the record, those that were stopped early among them.
        form: the runtime, as `gemnet export` names it.
        random: cells drawn from the space beside them, from which a predictor of the other cells' times learns more than from
            the best ones alone.
        seed: of these draws.
        display: told how far it is.
        network: settings of `gemnet.fit` in the place of the section `model`, for measurements of their own: times of such
            networks are none of that search.

    Returns:
        The number of networks in the folder.

    Raises:
        SearchError: for an unknown runtime, a space whose cells make no network, and a folder that holds something else.
    """
    if form not in RUNTIMES:
        raise SearchError(f"--to: unknown runtime {form!r}; {expected_name(form, RUNTIMES)}")
    snapshot = read_record(directory)
    settings = snapshot.settings
    space = build_space(**settings["space"])
    if space.table is not None:
        raise SearchError(
            f"{directory}: cells of {space.table.name} make no network here; times of a benchmark's cells are read from a CSV:"
            " cost.type=table cost.file=latency.csv cost.column=NAME"
        )
    if not (network or settings["model"]):
        raise SearchError(f"{directory}: its section model says no budget; which networks are to be timed is not known")
    network = whole_network(network or settings["model"])
    chosen = _fitted([r.cell for r in best_first(snapshot.records)[:top]], network)
    chosen |= _drawn(space, network, random, seed, chosen)
    if not chosen:
        raise SearchError(f"{directory}: no cell to export: nothing is evaluated yet; wait for the first, or give --random 50")
    folder = device_folder(directory, out)
    _check_folder(folder, form, network)
    folder.mkdir(parents=True, exist_ok=True)
    _write_scripts(folder, form, network["resolution"])
    known = _read_manifest(folder)
    entries: dict[str, Any] = dict(known["entries"]) if known else {}
    shown = display or Display()
    with shown.progress(f"Export to {form}") as progress:
        for number, (digest, architecture) in enumerate(chosen.items(), 1):
            if digest not in entries or not _is_whole(folder, entries[digest]):
                entries[digest] = _write(folder, digest, architecture, form, network["resolution"])
                _write_manifest(folder, form, network, entries)
            progress(number, len(chosen))
    _write_manifest(folder, form, network, entries)
    return len(entries)


def device_folder(directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """`out`, or `devices` in a work directory, in the current one for an exported record."""
    if out is not None:
        return Path(out)
    return Path(directory if Path(directory).is_dir() else ".") / "devices"


def _fitted(cells: list[Cell], network: Mapping[str, Any]) -> dict[str, Architecture]:
    """Networks by the digest of their cell, without cells of which none can be made."""
    found = {}
    for cell in cells:
        pruned = cell.pruned()
        try:
            found[pruned.digest()] = fit(Cell(pruned.nodes, pruned.edges), **network).architecture
        except BudgetError:
            continue
    return found


def _drawn(space: Any, network: Mapping[str, Any], count: int, seed: int, known: Mapping[str, Any]) -> dict[str, Architecture]:
    """Of `count` random cells that are not known; of fewer where the space has no more."""
    rng, found = np.random.default_rng(seed), dict[str, Architecture]()
    for cells in _batches(space, rng):
        if len(found) >= count:
            break
        new = _fitted(cells, network)
        found |= {digest: one for digest, one in new.items() if digest not in known and digest not in found}
    return dict(list(found.items())[:count])


def _batches(space: Any, rng: np.random.Generator) -> Iterator[list[Cell]]:
    for _ in range(DRAWS):
        yield space.to_cells(space.sample(rng, DRAWN))


def _write(folder: Path, digest: str, architecture: Architecture, form: str, resolution: list[int]) -> dict[str, Any]:
    """Write the network's files, whole or not at all; what the manifest tells of it."""
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    path = part / f"{digest[:SHOWN]}{RUNTIMES[form].ending}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GEMNet(architecture)
    height, width = resolution
    export(model, path, form, (3, height, width))
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in RUNTIMES[form].files(path)}
    for name in files:
        os.replace(part / name, folder / name)
    shutil.rmtree(part)  # with what else an app needs, and a timing does not
    return {
        "file": path.name,
        "files": files,
        "nodes": list(architecture.cell.nodes),
        "edges": [list(edge) for edge in architecture.cell.edges],
        "widths": list(architecture.widths),
        "depths": list(architecture.depths),
        "head_width": architecture.head_width,
    }


def _is_whole(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the files of an entry are those that were written."""
    try:
        return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha for name, sha in entry["files"].items())
    except OSError:
        return False


def _write_manifest(folder: Path, form: str, network: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
    head = {"format": FORMAT, "version": VERSION, "runtime": form, "network": dict(network)}
    head["input"] = [1, 3, *network["resolution"]]
    lines = ",\n".join(f"{json.dumps(digest)}: {json.dumps(entry)}" for digest, entry in entries.items())
    save_text(folder / MANIFEST, json.dumps(head)[:-1] + ',\n"entries": {\n' + lines + "\n}}\n")


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """That of an earlier call; None without one. Raises SearchError for something else."""
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    try:
        manifest = json.loads(read_text(path))
        entries = manifest["entries"]
        if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT}, version {VERSION}")
        if not all(os.path.basename(name) == name for entry in entries.values() for name in entry["files"]):
            raise ValueError("a file outside the folder")
    except (TextError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SearchError(f"{path}: no manifest of an export ({error}); name another folder with --out") from None
    return manifest


def _check_folder(folder: Path, form: str, network: Mapping[str, Any]) -> None:
    """Raises SearchError for a folder that holds something else than an export to this runtime of networks of this size."""
    if folder.exists() and not folder.is_dir():
        raise SearchError(f"--out {folder}: is a file; name a folder")
    manifest = _read_manifest(folder)
    if manifest is None:
        if folder.is_dir() and any(file.name not in (*SCRIPTS, ".part") for file in folder.iterdir()):
            raise SearchError(f"--out {folder}: holds other files; name another folder with --out")
    elif manifest.get("runtime") != form or manifest.get("network") != network:
        raise SearchError(
            f"--out {folder}: holds networks for {manifest.get('runtime')} or of another size; name another folder with --out"
        )


def _write_scripts(folder: Path, form: str, resolution: list[int]) -> None:
    texts = resources.files("search.devices")
    values = {"runtime": form, "ending": RUNTIMES[form].ending, "height": str(resolution[0]), "width": str(resolution[1])}
    for name in SCRIPTS:
        text = (texts / name).read_text(encoding="utf-8")
        if name.endswith(".sh"):
            for key, value in values.items():
                text = text.replace(f"@{key}@", value)
        save_text(folder / name, text)
