"""Cell: the directed acyclic graph of operators that a network repeats, as a frozen value and as a file."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemnet.canonical import certificate
from gemnet.core.errors import UserError
from gemnet.core.files import TextError, decode_text, open_regular, save_text
from gemnet.operators import INPUT, LABELS, OPERATORS, REMEDY, known_names, own_operators

if TYPE_CHECKING:
    import networkx

FORMAT, VERSION = "gemnet.cell", 1
MAX_NODES = 1024
# What an untrusted file may hold: every edge of 1,024 nodes fits, and what fits is read within about a second and 100 MiB.
MAX_FILE_BYTES = 8 * 2**20
MAX_FILE_SIGNS = {"[": 600_000, "{": 100_000, ":": 200_000, ",": 1_200_000}
MAX_PROVENANCE_BYTES = 2**20
MAX_PROVENANCE_LEVELS = 32  # deeper, a cell could be read that cannot be pickled


class CellError(UserError):
    """A cell or cell file that is not valid. The message names the file, the place and what was expected."""


@dataclass(frozen=True)
class Cell:
    """A cell: operators on nodes, edges in topological order (paper, section 3.2).

    Node 0 is the input. A node with several inputs concatenates them along channels; the outputs of all leaves are
    concatenated into the cell's output. A node that the input does not reach is dropped when a network is built.

    Args:
        nodes: names of gemnet.operators.OPERATORS, `nodes[0] == "input"`. A cell with one of gemnet.operators.LABELS is a
            benchmark's: a value like any other, of which no network is built.
        edges: pairs (u, v) with u < v, kept sorted.
        provenance: where the cell came from, any JSON object; no part of equality.

    Raises:
        CellError: for anything else.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        nodes = _checked_nodes(self.nodes)
        edges = _checked_edges(self.edges, len(nodes))
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "provenance", _checked_provenance(self.provenance))
        if len(self.live_nodes) < 2:
            raise CellError("edges: no node is reached from the input; expected at least one edge [0, v]")

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes that feed it, ascending."""
        into: list[list[int]] = [[] for _ in self.nodes]
        for u, v in self.edges:
            into[v].append(u)
        return tuple(map(tuple, into))

    @cached_property
    def live_nodes(self) -> tuple[int, ...]:
        """The nodes that the input reaches, ascending; the others are dropped when a network is built."""
        live = [True] + [False] * (len(self.nodes) - 1)
        for u, v in self.edges:  # sorted by u, and u < v: live[u] is final when its edges come
            live[v] = live[v] or live[u]
        return tuple(v for v, alive in enumerate(live) if alive)

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The live nodes that feed nothing; their concatenation is the cell's output."""
        feeding = {u for u, _ in self.edges}
        return tuple(v for v in self.live_nodes if v not in feeding)

    def pruned(self) -> Cell:
        """Leave out the nodes that the input does not reach. The cell itself if all are reached."""
        if len(self.live_nodes) == len(self.nodes):
            return self
        index = {v: i for i, v in enumerate(self.live_nodes)}
        edges = tuple((index[u], index[v]) for u, v in self.edges if u in index)
        return Cell(tuple(self.nodes[v] for v in self.live_nodes), edges, self.provenance)

    @property
    def buildable(self) -> bool:
        """Whether gemnet builds networks of the cell: not of a benchmark's, whose operators it knows by name alone."""
        return not any(name in LABELS for name in self.nodes)

    def check_buildable(self) -> None:
        """Refuse a cell of a benchmark. Raises CellError that names the node."""
        for v, name in enumerate(self.nodes):
            if name in LABELS:
                raise CellError(
                    f"nodes[{v}]: {name!r} is an operator of {LABELS[name]}: such a cell can be drawn and compared, but gemnet"
                    f" builds no network of it; expected operators {known_names()}"
                )

    def digest(self) -> str:
        """Name the cell by 64 hexadecimal digits, the same for isomorphic cells and for these alone.

        Isomorphisms keep directions, and operators as labels. Dropped nodes count: use `cell.pruned().digest()` as the identity
        of the network that a cell builds. See `gemnet.canonical.certificate` for the one bounded exception, graphs of extreme
        symmetry.
        """
        return hashlib.sha256(repr(certificate(self.nodes, self.edges)).encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "cell") -> Cell:
        """Read the cell file format, version 1. `source` names the file in errors. Raises CellError."""
        try:
            return cls._from_document(_parsed(text))
        except CellError as error:
            raise CellError(f"{source}: {error}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Cell:
        """Read a cell file. Raises CellError, also for a file that cannot be read."""
        try:
            with open_regular(path) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            raise CellError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return cls.from_json(content, os.fsdecode(path))

    @classmethod
    def shipped(cls, name: str) -> Cell:
        """Read a cell that comes with the package, by name. Raises CellError with the known names."""
        files = {Path(f.name).stem: f for f in resources.files("gemnet.cells").iterdir() if f.name.endswith(".json")}
        if name not in files:
            known = ", ".join(sorted(files))
            raise CellError(f"no shipped cell is named {_short(name)}; expected one of {known}, or a .json file")
        return cls.from_json(files[name].read_bytes(), f"{name}.json")

    @classmethod
    def resolve(cls, cell: Cell | Mapping[str, Any] | str | os.PathLike[str]) -> Cell:
        """Make a cell of what names it.

        Args:
            cell: a Cell, which is returned as it is, what a cell file holds, a path to one, the name of a shipped cell, or the
                name of an operator, for the cell of this one node.

        Raises:
            CellError: for anything else, and for a cell that is not valid.
        """
        if isinstance(cell, Cell):
            return cell
        if isinstance(cell, Mapping):
            try:
                return cls.from_json(json.dumps(dict(cell)))
            except (TypeError, ValueError, RecursionError) as error:
                raise error if isinstance(error, CellError) else CellError(f"cell: expected JSON values: {error}") from None
        if not isinstance(cell, (str, bytes, os.PathLike)):
            raise CellError(f"cell: expected a Cell, a cell file or the name of a shipped cell, found {_short(cell)}")
        text = os.fsdecode(cell)
        if text.endswith(".json") or os.path.isfile(text):
            return cls.load(text)
        return cls((INPUT, text), ((0, 1),)) if text in OPERATORS else cls.shipped(text)

    def to_json(self) -> str:
        """The cell file format, version 1, one line each for nodes, edges and provenance."""
        parts = {"nodes": list(self.nodes), "edges": [list(e) for e in self.edges]}
        if self.provenance:
            parts["provenance"] = dict(self.provenance)
        lines = [f'"format": "{FORMAT}", "version": {VERSION}']
        lines += [f'"{key}": {json.dumps(value, allow_nan=False)}' for key, value in parts.items()]
        return "{" + ",\n ".join(lines) + "}\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the cell file; an existing file is replaced whole or not at all. Raises OSError where that cannot be."""
        save_text(path, self.to_json())

    def to_networkx(self) -> networkx.DiGraph:
        """Make a networkx DiGraph, with the operator of each node as its attribute `operator`."""
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from((v, {"operator": name}) for v, name in enumerate(self.nodes))
        graph.add_edges_from(self.edges)
        return graph

    def __getstate__(self) -> dict[str, Any]:
        """A pickle takes the cell's own operators along, so that another process can build it; see `gemnet.operators`."""
        own = own_operators(self.nodes)
        return {**self.__dict__, "own_operators": own} if own else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: value for name, value in state.items() if name != "own_operators"})

    @classmethod
    def _from_document(cls, document: Any) -> Cell:
        if not isinstance(document, dict):
            raise CellError(f"top level: expected an object, found {_kind(document)}")
        unknown = sorted(set(document) - {"format", "version", "nodes", "edges", "provenance"})
        if unknown:
            raise CellError(f"unknown key {_short(unknown[0])}; expected format, version, nodes, edges and, if any, provenance")
        for key in ("format", "version", "nodes", "edges"):
            if key not in document:
                raise CellError(f"key {key!r} is missing")
        if document["format"] != FORMAT:
            raise CellError(f"format: expected {FORMAT!r}, found {_short(document['format'])}")
        if document["version"] != VERSION or type(document["version"]) is not int:
            version = _short(document["version"])
            raise CellError(f"version: expected {VERSION}, found {version}; a newer file needs a newer gemnet")
        for key in ("nodes", "edges"):
            if not isinstance(document[key], list):
                raise CellError(f"{key}: expected a list, found {_kind(document[key])}")
        return cls(document["nodes"], document["edges"], document.get("provenance", {}))


def _parsed(text: str | bytes) -> Any:
    if len(text) > MAX_FILE_BYTES:
        raise CellError(f"larger than {MAX_FILE_BYTES >> 20} MiB; expected a cell of at most {MAX_NODES} nodes")
    collecting = gc.isenabled()
    gc.disable()  # JSON makes no cycles; looking for them would take several times as long as reading half a million edges
    try:
        if isinstance(text, bytes):
            text = decode_text(text)
        for sign, most in MAX_FILE_SIGNS.items():
            if text.count(sign) > most:
                raise CellError(f"more than {most:,} times {sign!r}; expected a cell of at most {MAX_NODES} nodes")
        return json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise CellError("not a cell file: nested too deeply") from None
    except TextError as error:
        raise CellError(str(error)) from None
    except json.JSONDecodeError as error:
        raise CellError(f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except CellError:
        raise
    except ValueError:
        raise CellError("a number has thousands of digits; expected a cell file") from None
    finally:
        if collecting:
            gc.enable()


def _refuse_constant(name: str) -> Any:
    raise CellError(f"{name} is no JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise CellError(f"key {_short(key)} occurs twice")
    return result


def _checked_nodes(nodes: Any) -> tuple[str, ...]:
    if isinstance(nodes, str) or not isinstance(nodes, Iterable):
        raise CellError(f"nodes: expected a list, found {_kind(nodes)}")
    nodes = tuple(nodes)
    if not 2 <= len(nodes) <= MAX_NODES:
        raise CellError(f"nodes: expected 2 to {MAX_NODES} nodes, found {len(nodes)}")
    if nodes[0] != INPUT:
        raise CellError(f"nodes[0]: expected {INPUT!r}, found {_short(nodes[0])}")
    for v, name in enumerate(nodes[1:], 1):
        if not isinstance(name, str) or (name not in OPERATORS and name not in LABELS):
            raise CellError(f"nodes[{v}]: unknown operator {_short(name)}; expected one of {known_names()}{REMEDY}")
    return nodes


def _checked_edges(edges: Any, count: int) -> tuple[tuple[int, int], ...]:
    if isinstance(edges, str) or not isinstance(edges, Iterable):
        raise CellError(f"edges: expected a list, found {_kind(edges)}")
    pairs = []
    for i, edge in enumerate(edges):
        if not isinstance(edge, (list, tuple)) or len(edge) != 2 or type(edge[0]) is not int or type(edge[1]) is not int:
            raise CellError(f"edges[{i}]: expected a pair [u, v] of integers, found {_short(edge)}")
        u, v = edge
        if not 0 <= u < v < count:
            if 0 <= v <= u < count:
                raise CellError(f"edges[{i}]: [{u}, {v}] does not go forward; expected u < v (topological order)")
            raise CellError(f"edges[{i}]: [{_short(u)}, {_short(v)}] is out of range; expected nodes 0 to {count - 1}")
        pairs.append((u, v))
    ordered = sorted(pairs)
    for one, two in pairwise(ordered):
        if one == two:
            i = pairs.index(one, pairs.index(one) + 1)
            raise CellError(f"edges[{i}]: {list(one)} occurs twice; expected each edge once")
    return tuple(ordered)


def _checked_provenance(provenance: Any) -> dict[str, Any]:
    if not isinstance(provenance, Mapping):
        raise CellError(f"provenance: expected an object, found {_kind(provenance)}")
    if not provenance:
        return {}
    try:
        text = json.dumps(dict(provenance), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CellError(f"provenance: expected JSON values: {error}") from None
    if len(text) > MAX_PROVENANCE_BYTES:
        raise CellError(f"provenance: larger than {MAX_PROVENANCE_BYTES >> 20} MiB")
    copy = json.loads(text)  # private, and surely JSON
    level = [copy]
    for _ in range(MAX_PROVENANCE_LEVELS):
        children = [child for value in level for child in (value.values() if isinstance(value, dict) else value)]
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return copy
    raise CellError(f"provenance: nested too deeply; expected at most {MAX_PROVENANCE_LEVELS} levels")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"{_kind(value)} too long to print"
    return text if len(text) <= 60 else text[:57] + "..."
