import copy
import dataclasses
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import networkx
import pytest

import gemnet
from gemnet.cell import MAX_FILE_BYTES, MAX_NODES, Cell, CellError

VALID = {
    "format": "gemnet.cell",
    "version": 1,
    "nodes": ["input", "conv1x1", "sepconv3x3", "conv3x3"],
    "edges": [[0, 1], [0, 2], [1, 2], [2, 3]],
}
DELETE = object()


def changed(**changes):
    document = {**VALID, **changes}
    return json.dumps({key: value for key, value in document.items() if value is not DELETE})


def nested(levels, inside="0"):
    return "[" * levels + inside + "]" * levels


# what is wrong: the file's text, and what the message must tell besides the file's name
BROKEN = {
    "unknown format": (changed(format="cell"), ["format", "expected 'gemnet.cell'", "'cell'"]),
    "format of another type": (changed(format=["gemnet.cell"]), ["format", "expected 'gemnet.cell'"]),
    "no format": (changed(format=DELETE), ["'format' is missing"]),
    "unknown version": (changed(version=2), ["version", "expected 1", "found 2"]),
    "version as a float": (changed(version=1.0), ["version", "expected 1", "1.0"]),
    "version as a boolean": (changed(version=True), ["version", "expected 1", "True"]),
    "no version": (changed(version=DELETE), ["'version' is missing"]),
    "no nodes": (changed(nodes=DELETE), ["'nodes' is missing"]),
    "no edges": (changed(edges=DELETE), ["'edges' is missing"]),
    "unknown key": (changed(colour="red"), ["unknown key 'colour'", "expected format, version, nodes, edges"]),
    "unknown operator": (
        changed(nodes=["input", "conv1x1", "conv7x7", "conv3x3"]),
        ["nodes[2]", "'conv7x7'", "conv1x1", "sepconv5x5"],
    ),
    "operator of another type": (changed(nodes=["input", "conv1x1", ["conv1x1"], "conv3x3"]), ["nodes[2]", "['conv1x1']"]),
    "operator null": (changed(nodes=["input", None, "conv1x1", "conv3x3"]), ["nodes[1]", "None"]),
    "second input": (changed(nodes=["input", "conv1x1", "input", "conv3x3"]), ["nodes[2]", "'input'"]),
    "no input": (changed(nodes=["conv1x1"] * 4), ["nodes[0]", "expected 'input'", "'conv1x1'"]),
    "nodes as an object": (changed(nodes={"0": "input"}), ["nodes", "expected a list", "an object"]),
    "nodes as a string": (changed(nodes="input"), ["nodes", "expected a list", "a string"]),
    "empty nodes": (changed(nodes=[]), ["nodes", "2 to 1024", "found 0"]),
    "input alone": (changed(nodes=["input"], edges=[]), ["nodes", "2 to 1024", "found 1"]),
    "too many nodes": (changed(nodes=["input"] + ["conv1x1"] * 1024), ["nodes", "2 to 1024", "found 1025"]),
    "edges null": (changed(edges=None), ["edges", "expected a list", "null"]),
    "edges as a number": (changed(edges=5), ["edges", "expected a list", "a number"]),
    "edge as an object": (changed(edges=[[0, 1], {"0": 1}]), ["edges[1]", "pair [u, v] of integers"]),
    "edge of three": (changed(edges=[[0, 1, 2]]), ["edges[0]", "pair [u, v] of integers", "[0, 1, 2]"]),
    "edge of floats": (changed(edges=[[0.0, 1.0]]), ["edges[0]", "pair [u, v] of integers", "[0.0, 1.0]"]),
    "edge of booleans": (changed(edges=[[False, True]]), ["edges[0]", "pair [u, v] of integers", "[False, True]"]),
    "edge of strings": (changed(edges=[["0", "1"]]), ["edges[0]", "pair [u, v] of integers"]),
    "edge out of range": (changed(edges=[[0, 1], [0, 4]]), ["edges[1]", "[0, 4]", "out of range", "0 to 3"]),
    "negative edge": (changed(edges=[[-1, 1]]), ["edges[0]", "[-1, 1]", "out of range", "0 to 3"]),
    "edge to a huge node": (changed(edges=[[0, 10**400]]), ["edges[0]", "out of range", "0 to 3"]),
    "edge backwards": (changed(edges=[[0, 1], [2, 1]]), ["edges[1]", "[2, 1]", "expected u < v"]),
    "edge to itself": (changed(edges=[[1, 1]]), ["edges[0]", "[1, 1]", "expected u < v"]),
    "edge twice": (changed(edges=[[0, 1], [1, 2], [0, 1]]), ["edges[2]", "[0, 1]", "twice"]),
    "no edge": (changed(edges=[]), ["edges", "no node is reached from the input", "[0, v]"]),
    "no path from the input": (changed(edges=[[1, 2], [2, 3]]), ["edges", "no node is reached from the input", "[0, v]"]),
    "provenance as a list": (changed(provenance=[]), ["provenance", "expected an object", "a list"]),
    "provenance null": (changed(provenance=None), ["provenance", "expected an object", "null"]),
    "provenance nested 33 deep": (
        changed(provenance={"a": json.loads(nested(32))}),
        ["provenance", "nested too deeply", "at most 32"],
    ),
    "provenance of 2 MiB": (changed(provenance={"a": "x" * 2**21}), ["provenance", "larger than 1 MiB"]),
    "infinity by exponent": (changed(provenance={"a": 0}).replace('"a": 0', '"a": 1e999'), ["provenance", "JSON values"]),
    "top level a list": ("[]", ["top level", "expected an object", "a list"]),
    "top level null": ("null", ["top level", "expected an object", "null"]),
    "nothing": ("", ["not valid JSON at line 1, column 1"]),
    "text": ("hello", ["not valid JSON at line 1, column 1"]),
    "cut short": (changed()[:-5], ["not valid JSON at line 1"]),
    "trailing text": (changed() + "\n}", ["not valid JSON at line 2, column 1"]),
    "NaN": (changed(provenance={"a": float("nan")}), ["NaN"]),
    "minus infinity": (changed(provenance={"a": -float("inf")}), ["-Infinity"]),
    "the same key twice": (changed()[:-1] + ', "edges": [[0, 1]]}', ["'edges' occurs twice"]),
    "the same key twice inside": (changed()[:-1] + ', "provenance": {"a": 1, "a": 2}}', ["'a' occurs twice"]),
    "deep nesting": (nested(100_000), ["not a cell file: nested too deeply"]),
    "deep nesting in nodes": (changed(nodes=["input", 0]).replace("0]", nested(500) + "]", 1), ["nodes[1]"]),
    "millions of lists": ("[" + "[]," * 2**21 + "0]", ["more than 600,000 times '['"]),
    "millions of keys": ("{" + '"":0,' * 2**20 + '"":0}', ["more than 200,000 times ':'"]),
    "a number of thousands of digits": (changed()[:-1] + ', "provenance": {"a": ' + "9" * 5000 + "}}", ["thousands of digits"]),
    "a long key": ('{"' + "k" * 10**6 + '": 1}', ["unknown key 'kkk"]),
    "a long operator": (changed(nodes=["input", "x" * 10**6]), ["nodes[1]", "'xxx"]),
    "a lone surrogate as operator": (changed(nodes=["input", "\ud800"]), ["nodes[1]", "\\ud800"]),
    "a lone surrogate as key": (changed(**{"\udfff": 1}), ["unknown key '\\udfff'"]),
    "a null byte": ("\0" + changed(), ["not valid JSON at line 1, column 1"]),
    "UTF-16": (changed().encode("utf-16"), ["UTF-16 text, not UTF-8; save it again as UTF-8"]),
    "UTF-16 without a mark": (changed().encode("utf-16-be"), ["UTF-16 text, not UTF-8"]),
    "Latin-1": (changed().encode()[:-1] + b', "provenance": {"a": "\xe9"}}', ["not UTF-8 text at byte"]),
    "an encoded surrogate": (b'{"\xed\xa0\x80": 1}', ["not UTF-8 text at byte 2"]),
    "binary": (bytes(range(256)) * 64, ["not UTF-8 text at byte 128"]),
    "more than 8 MiB": (changed() + " " * MAX_FILE_BYTES, ["larger than 8 MiB", "1024 nodes"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_cell_error_that_names_the_file_the_place_and_what_was_expected(name, tmp_path):
    text, told = BROKEN[name]
    file = tmp_path / "broken.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CellError) as error:
        Cell.load(file)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    for part in told:
        assert part in message
    assert len(message) < len(str(file)) + 300
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_a_cell_error_that_says_why(tmp_path):
    for path, why in (
        (tmp_path / "missing.json", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "a\0b.json", "null "),  # byte or, from Python 3.14 on, character
        (tmp_path / ("x" * 300 + ".json"), "too long"),
    ):
        with pytest.raises(CellError) as error:
            Cell.load(path)
        assert str(error.value).startswith(f"{path}: cannot be read: ")
        assert why in str(error.value)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
def test_an_endless_file_is_refused(tmp_path):
    with pytest.raises(CellError, match="/dev/zero: cannot be read: is a device, not a file"):
        Cell.load("/dev/zero")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(CellError, match=r"large\.json: larger than 8 MiB"):
        Cell.load(tmp_path / "large.json")


@pytest.mark.parametrize(
    ("nodes", "edges", "provenance", "place"),
    [
        (None, (), {}, "nodes: expected a list, found null"),
        (5, (), {}, "nodes: expected a list"),
        ("input", ((0, 1),), {}, "nodes: expected a list"),
        (("input", "conv1x1"), None, {}, "edges: expected a list, found null"),
        (("input", "conv1x1"), ("01",), {}, r"edges\[0\]: expected a pair"),
        (("input", "conv1x1"), ((0, 1),), None, "provenance: expected an object"),
        (("input", "conv1x1"), ((0, 1),), {"a": {1, 2}}, "provenance: expected JSON values"),
        (("input", "conv1x1"), ((0, 1),), {"a": float("nan")}, "provenance: expected JSON values"),
    ],
)
def test_the_constructor_is_as_strict_as_the_file_format(nodes, edges, provenance, place):
    with pytest.raises(CellError, match=place):
        Cell(nodes, edges, provenance)


def test_a_provenance_that_contains_itself_is_a_cell_error():
    provenance = {}
    provenance["a"] = provenance
    with pytest.raises(CellError, match="provenance: expected JSON values"):
        Cell(("input", "conv1x1"), ((0, 1),), provenance)


def test_a_cell_survives_the_way_through_text_and_file(random_cell, tmp_path):
    rng = random.Random(0)
    for i in range(50):
        provenance = {"search": "Suche äöü \ud800 \0", "score": 0.1 + i, "more": [None, True, {"a": -1e-300}]} if i % 2 else {}
        cell = dataclasses.replace(random_cell(rng, rng.randint(2, 40), rng.random()), provenance=provenance)
        file = tmp_path / f"{i}.json"
        cell.save(file)
        for copied in (Cell.from_json(cell.to_json()), Cell.from_json(cell.to_json().encode()), Cell.load(str(file))):
            assert copied == cell
            assert copied.provenance == provenance
            assert copied.to_json() == cell.to_json()
    assert len(list(tmp_path.iterdir())) == 50  # nothing else is left behind


@pytest.mark.long
def test_the_largest_cell_fits_into_a_file(tmp_path):
    edges = tuple((u, v) for u in range(MAX_NODES) for v in range(u + 1, MAX_NODES))
    cell = Cell(("input", *["sepconv5x5"] * (MAX_NODES - 1)), edges, {"a": "x" * 10**6})
    cell.save(tmp_path / "large.json")
    assert Cell.load(tmp_path / "large.json") == cell


def test_a_file_is_plain_json_with_the_keys_of_version_1():
    cell = Cell(("input", "conv1x1"), ((0, 1),), {"seed": 0})
    assert json.loads(cell.to_json()) == {
        "format": "gemnet.cell",
        "version": 1,
        "nodes": ["input", "conv1x1"],
        "edges": [[0, 1]],
        "provenance": {"seed": 0},
    }


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "cell.json"
    old, new = Cell(("input", "conv1x1"), ((0, 1),)), Cell(("input", "conv3x3"), ((0, 1),))
    old.save(file)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        new.save(file)
    assert Cell.load(file) == old
    assert [f.name for f in tmp_path.iterdir()] == ["cell.json"]


def test_the_order_of_edges_does_not_matter_and_lists_are_taken():
    cell = Cell(["input", "conv1x1", "conv3x3"], [[1, 2], (0, 1)])
    assert cell == Cell(("input", "conv1x1", "conv3x3"), ((0, 1), (1, 2)))
    assert cell.edges == ((0, 1), (1, 2))


def test_a_cell_is_frozen_hashable_and_goes_through_pickle_and_copy():
    cell = Cell(("input", "conv1x1", "conv3x3"), ((0, 1), (1, 2)), {"seed": 1})
    other = Cell(("input", "conv1x1", "conv3x3"), ((0, 1), (0, 2)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.nodes = ()
    assert len(cell.leaves) == 1  # cached, and pickled with the cell
    for same in (pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell), dataclasses.replace(cell, provenance={})):
        assert same == cell
        assert hash(same) == hash(cell)
        assert same.leaves == cell.leaves
    assert pickle.loads(pickle.dumps(cell)).provenance == {"seed": 1}
    assert cell != other
    assert len({cell, other, copy.deepcopy(cell)}) == 2


def test_the_provenance_is_a_copy():
    provenance = {"a": [1]}
    cell = Cell(("input", "conv1x1"), ((0, 1),), provenance)
    provenance["a"].append(2)
    assert cell.provenance == {"a": [1]}


def test_live_nodes_are_what_networkx_reaches_from_the_input(random_cell):
    rng = random.Random(1)
    for _ in range(300):
        cell = random_cell(rng, rng.randint(2, 30), rng.uniform(0.02, 0.5))
        graph = networkx.DiGraph(list(cell.edges))
        reached = {0, *networkx.descendants(graph, 0)}
        assert set(cell.live_nodes) == reached
        assert set(cell.leaves) == {v for v in reached if graph.out_degree(v) == 0}
        assert [set(p) for p in cell.predecessors] == [
            set(graph.predecessors(v)) if v in graph else set() for v in range(len(cell.nodes))
        ]


def test_pruning_leaves_the_reached_subgraph_and_its_provenance(random_cell):
    rng = random.Random(2)
    for _ in range(100):
        cell = dataclasses.replace(random_cell(rng, rng.randint(2, 30), rng.uniform(0.02, 0.3)), provenance={"seed": 7})
        pruned, live = cell.pruned(), list(cell.live_nodes)
        assert pruned.nodes == tuple(cell.nodes[v] for v in live)
        assert {(live[u], live[v]) for u, v in pruned.edges} == set(cell.to_networkx().subgraph(live).edges)
        assert pruned.live_nodes == tuple(range(len(live)))
        assert [live[v] for v in pruned.leaves] == list(cell.leaves)
        assert pruned.provenance == cell.provenance
        assert pruned.pruned() is pruned


def test_networkx_gets_the_operators_and_the_edges():
    graph = Cell(("input", "conv1x1", "conv3x3"), ((0, 2),)).to_networkx()
    assert dict(graph.nodes(data="operator")) == {0: "input", 1: "conv1x1", 2: "conv3x3"}
    assert list(graph.edges) == [(0, 2)]


def test_shipped_cells_are_found_by_name_and_an_unknown_name_lists_them():
    for name in ("gemnet_a", "gemnet_b"):
        assert Cell.shipped(name) == Cell.resolve(name)
    with pytest.raises(CellError, match=r"'gemnet_z'; expected one of gemnet_a, gemnet_b.* or a \.json file"):
        Cell.shipped("gemnet_z")


def test_a_cell_is_resolved_from_itself_a_path_or_a_name(tmp_path, monkeypatch):
    cell = Cell(("input", "conv3x3"), ((0, 1),))
    cell.save(tmp_path / "mine.json")
    cell.save(tmp_path / "mine")
    (tmp_path / "gemnet_a").mkdir()  # a directory does not hide the shipped cell
    monkeypatch.chdir(tmp_path)
    for given in (cell, "mine.json", Path("mine.json"), b"mine.json", tmp_path / "mine.json", "mine"):
        assert Cell.resolve(given) == cell
    assert Cell.resolve("gemnet_a") == Cell.shipped("gemnet_a")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("missing.json", "missing.json: cannot be read: No such file"),
        ("nowhere", "expected one of gemnet_a"),
        ("", "expected one of gemnet_a"),
        (None, "expected a Cell, a cell file or the name of a shipped cell, found None"),
        (5, "found 5"),
        ({"nodes": []}, "cell: key 'format' is missing"),
    ],
)
def test_what_is_no_cell_is_a_cell_error(given, told):
    with pytest.raises(CellError) as error:
        Cell.resolve(given)
    assert told in str(error.value)


def test_importing_gemnet_loads_no_library_before_it_is_needed():
    code = "import gemnet, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(gemnet.__file__).parents[1], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "gemnet" in loaded
    mm = {"mmengine", "mmcv", "mmdet", "mmpretrain", "torch", "torchvision", "timm"}
    assert not loaded & (mm | {"matplotlib", "networkx", "numba", "scipy", "sklearn", "pandas", "search", "grakel", "rich"})
