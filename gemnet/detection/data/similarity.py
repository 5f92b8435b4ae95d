"""Images that are copies of each other, or nearly: by their bytes, and by a perceptual hash.

The hash is a difference hash: 16 x 16 bits, each whether the grey level rises to the right by more than a level. Of photos,
copies that were saved again, made smaller or a little brighter differ in at most 13 % of the bits, others in more than 25 %.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gemnet.core.files import open_regular
from gemnet.detection.data.parallel import mapped
from gemnet.detection.data.scanning import ImageFacts
from gemnet.images.pixels import ImageError, read_image

SIDE = 16
NEAR = 36
"""Bits of SIDE * SIDE in which copies differ at most."""
NEAR_SHARE = 0.3
"""Bits in which copies differ at most, as a share of the rises of either: two objects on white have few."""
PLAIN = 16
"""An image with fewer rises is too plain to be told from another one by them."""
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.uint8)
"""How many bits of a byte are set."""
WINDOW = 32
"""Neighbours in the order of the hashes that are compared with each."""


def perceptual_hash(path: str) -> bytes | None:
    """The hash of an image, of SIDE * SIDE / 8 bytes; None for one that is too plain, or cannot be read."""
    try:
        pixels = read_image(path, at_least=(2 * SIDE, 2 * SIDE))
    except ImageError:
        return None
    small = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    levels = np.asarray(small).astype(np.int16)
    rises = levels[:, 1:] - levels[:, :-1] > 1
    if int(rises.sum()) < PLAIN:
        return None
    return np.packbits(rises).tobytes()


class PerceptualHashes:
    """The hashes of images below `root`, each made once.

    pairs: What `near_copies` found, by the names that it was asked about.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pairs: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        self._made: dict[str, bytes | None] = {}

    def of(self, names: Sequence[str]) -> list[bytes | None]:
        """As `perceptual_hash` gives them, in the order of `names`."""
        new = [name for name in names if name not in self._made]
        self._made.update(zip(new, mapped(perceptual_hash, [os.path.join(self.root, name) for name in new])))
        return [self._made[name] for name in names]


def near_copies(hashes: PerceptualHashes, names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of images that look alike, enough of them to connect all that do."""
    if tuple(names) not in hashes.pairs:
        hashes.pairs[tuple(names)] = _near(hashes, names)
    return hashes.pairs[tuple(names)]


def _near(hashes: PerceptualHashes, names: Sequence[str]) -> list[tuple[str, str]]:
    known = [(hash, name) for hash, name in zip(hashes.of(names), names) if hash is not None]
    if len(known) < 2:
        return []
    bits = np.unpackbits(np.frombuffer(b"".join(hash for hash, _ in known), np.uint8).reshape(len(known), -1), axis=1)
    pairs: set[tuple[int, int]] = set()
    grid = bits.reshape(-1, SIDE, SIDE)
    bands = [np.packbits(band, axis=1).view(">u2")[:, 0] for band in (*grid.transpose(1, 0, 2), *grid.transpose(2, 0, 1))]
    packed = np.packbits(bits, axis=1)
    words = packed.view(np.uint64)
    allowed = np.minimum(NEAR, NEAR_SHARE * bits.sum(axis=1))
    order_within = np.lexsort(packed.T[::-1])
    for band in bands:  # copies have a row or a column of bits in common
        order = order_within[np.argsort(band[order_within], kind="stable")]
        sorted_band = band[order]
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            same = np.flatnonzero(sorted_band[step:] == sorted_band[:-step])
            if not len(same):
                break
            first, second = order[same], order[same + step]
            apart = _ones(words[first] ^ words[second]).sum(axis=1)
            near = apart <= np.minimum(allowed[first], allowed[second])
            pairs.update(zip(first[near].tolist(), second[near].tolist()))
    return sorted((min(known[a][1], known[b][1]), max(known[a][1], known[b][1])) for a, b in pairs)


def exact_copies(root: Path, facts: Mapping[str, ImageFacts]) -> list[list[str]]:
    """Groups of files with the same bytes. Only files of the same length and end are read."""
    alike: dict[tuple[int, int], list[str]] = {}
    for name, fact in facts.items():
        alike.setdefault((fact.bytes, fact.end), []).append(name)
    doubtful = [name for group in alike.values() if len(group) > 1 for name in group]
    groups: dict[bytes, list[str]] = {}
    for name, digest in zip(doubtful, mapped(_digest, [os.path.join(root, name) for name in doubtful])):
        if digest:
            groups.setdefault(digest, []).append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _digest(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""


def _ones(words: np.ndarray) -> np.ndarray:
    """How many bits of each are set, in whatever parts of a row."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words)
    return _ONES[words.view(np.uint8)]


def connected(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The names in groups that pairs connect, each group and the groups sorted."""
    above = {name: name for name in names}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for first, second in pairs:
        low, high = sorted((top(first), top(second)))
        above[high] = low
    groups: dict[str, list[str]] = {}
    for name in sorted(above):
        groups.setdefault(top(name), []).append(name)
    return list(groups.values())
