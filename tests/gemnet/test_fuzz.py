"""Mutated cell files: each is refused with a CellError or is a cell that a network can be built from."""

import json
import os
import random
import time

import pytest

from gemnet.architecture import Architecture
from gemnet.cell import Cell, CellError
from gemnet.network import GEMNet

WORDS = [
    "gemnet.cell", "input", "conv1x1", "conv3x3", "sepconv3x3", "sepconv5x5", "conv7x7", "", "\ud800", "\0", "nodes", "edges",
    "format", "version", "provenance", "__class__", "é" * 9,
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 29, 30, 1023, 1024, 2**31, 2**63, 10**400, 0.0, 1.5, 1e308, float("nan"), float("inf"), True, False, None,
]  # fmt: skip
BYTES = [
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"0", b"9" * 5000, b"-", b"e999", b".", b"NaN",
    b"null", b"true", b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b"[" * 3000, b"[[" * 400, b'{"a":' * 2000, b"/*",
]  # fmt: skip


def value(rng):
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NUMBERS)
    if kind < 0.7:
        return rng.choice(WORDS)
    if kind < 0.8:
        return [rng.randrange(-2, 40) for _ in range(rng.randrange(4))]
    if kind < 0.9:
        return {rng.choice(WORDS): value(rng)}
    return [value(rng) for _ in range(rng.randrange(3))]


def mutated_structure(rng, document):
    """The document with one to three places changed, removed, repeated, swapped or added."""
    for _ in range(rng.randint(1, 3)):
        places, stack = [], [document]
        while stack:
            node = stack.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node))
            for key in keys:
                places.append((node, key))
                if isinstance(node[key], (dict, list)):
                    stack.append(node[key])
        if not places:
            break
        node, key = rng.choice(places)
        action = rng.randrange(6)
        if action == 0:
            del node[key]
        elif action == 1 and isinstance(node, list):
            node.insert(key, json.loads(json.dumps(node[key])))
        elif action == 2 and isinstance(node, list):
            other = rng.randrange(len(node))
            node[key], node[other] = node[other], node[key]
        elif action == 3 and isinstance(node, dict):
            node[rng.choice(WORDS)] = value(rng)
        elif action == 4 and isinstance(node[key], list) and len(node[key]) < 200:
            node[key] *= rng.choice((2, 40))
        else:
            node[key] = value(rng)
    return document


def mutated_bytes(rng, text):
    """The text with one to four places cut, repeated, overwritten or added to."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 1, 1, 2, 10, 1000)))
        new = rng.choice((b"", text[start:end] * 2, rng.choice(BYTES), bytes([rng.randrange(256)])))
        text = text[:start] + new + text[end:]
    return text


def mutants(seed, count, random_cell):
    """`count` mutated cell files."""
    rng = random.Random(seed)
    originals = [random_cell(rng, rng.choice((2, 3, 5, 8, 30)), rng.uniform(0.1, 0.5)) for _ in range(40)]
    for _ in range(count):
        document = json.loads(rng.choice(originals).to_json())
        if rng.random() < 0.3:
            document["provenance"] = {"search": "x", "seed": 0, "curve": [0.1, 0.2], "more": {"a": None}}
        if rng.random() < 0.6:
            document = mutated_structure(rng, document)
        text = json.dumps(document, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
        yield mutated_bytes(rng, text) if rng.random() < 0.5 else text


def read(text):
    """The cell of a mutant, or the error that refuses it."""
    try:
        return Cell.from_json(text, "mutant.json")
    except CellError as error:
        return error


def check(mutants, build_every):
    """Returns how many mutants were valid, and the longest time on the processor, in seconds, that one took."""
    valid, longest = 0, 0.0
    for text in mutants:
        start = time.process_time()
        cell = read(text)
        if isinstance(cell, CellError):
            assert str(cell).startswith("mutant.json: ")
            assert len(str(cell)) < 400
        else:
            assert Cell.from_json(cell.to_json()) == cell
            assert len(cell.pruned().digest()) == 64
        longest = max(longest, time.process_time() - start)
        if isinstance(cell, Cell):
            if valid % build_every == 0:
                network = GEMNet(Architecture(cell, (2, 2), (1, 1), 2, 0), 2, device="meta")
                assert len(network.stages[0].cells[0].nodes) == len(cell.live_nodes) - 1
            valid += 1
    return valid, longest


def test_2000_mutated_files_are_refused_or_valid(random_cell):
    valid, _ = check(mutants(0, 2000, random_cell), build_every=10)
    assert 100 < valid < 1900  # both happen


@pytest.mark.slow
def test_100000_mutated_files_are_refused_or_valid_within_a_second_and_a_gib_each(random_cell):
    resource = pytest.importorskip("resource", reason="memory is measured with Unix's resource module")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, start = int(os.environ.get("FUZZ_COUNT", 100_000)), time.perf_counter()
    valid, longest = check(mutants(1, count, random_cell), build_every=20)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    total = time.perf_counter() - start
    print(f"\n{count} files, {valid} valid, {total:.0f} s; the longest {longest:.3f} s; {grown:.0f} MiB more memory")
    assert longest < 1
    assert grown < 1024
