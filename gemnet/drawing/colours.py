"""A colour for every operator, the same in all pictures."""

from __future__ import annotations

import colorsys
import functools
import hashlib
from collections.abc import Iterable

from gemnet.operators import INPUT, LABELS, OPERATORS

KNOWN = {
    "input": "#6b717a",
    "conv1x1": "#2f7fc1",
    "conv3x3": "#7a57b8",
    "sepconv3x3": "#e08214",
    "sepconv5x5": "#c2385a",
    "maxpool3x3": "#3a9a5b",
    "output": "#1b5e20",
    "none": "#c9a227",
    "skip_connect": "#8fbf00",
    "nor_conv_1x1": "#00a5c0",
    "nor_conv_3x3": "#8a4f2a",
    "avg_pool_3x3": "#ff6fb5",
    "conv5x5": "#5a6b00",
    "avgpool3x3": "#9e77ff",
}
DISTANCE = 36.0
"""Least Euclidean distance, of 442 at most, between two generated colours, and to a known one, in red, green and blue."""
GOLDEN = 0.618034


def operator_colours(names: Iterable[str]) -> dict[str, str]:
    """Colour the operators of a picture.

    A built-in operator, or a benchmark's, has its colour from KNOWN; any other has a generated one, chosen by its name and kept
    apart from those of the other operators of this process.

    Args:
        names: of operators, in any order, some perhaps several times.

    Returns:
        name -> "#rrggbb", in the order of a legend: the input, operators as they were registered, labels, other names.
    """
    wanted = set(names)
    order = dict.fromkeys((INPUT, *OPERATORS, *LABELS, *sorted(wanted)))
    generated = _generated(tuple(name for name in order if name not in KNOWN))
    return {name: KNOWN.get(name) or generated[name] for name in order if name in wanted}


@functools.lru_cache(maxsize=16)
def _generated(names: tuple[str, ...]) -> dict[str, str]:
    """For each name the colour of the palette at the place that its letters give, or the next one that is free."""
    palette = _palette()
    colours: dict[str, str] = {}
    for name in names:
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        in_turn = (palette[(start + step) % len(palette)] for step in range(len(palette)))
        taken = set(colours.values())
        colours[name] = next((colour for colour in in_turn if colour not in taken), palette[start % len(palette)])
    return colours


@functools.cache
def _palette() -> tuple[str, ...]:
    """Colours of all hues, neither very light nor very dark, apart from each other and from the known ones."""
    chosen = [_numbers(colour) for colour in KNOWN.values()]
    colours = []
    for step in range(600):
        red, green, blue = colorsys.hls_to_rgb(step * GOLDEN % 1, (0.35, 0.5, 0.65)[step % 3], (0.9, 0.55)[step // 3 % 2])
        candidate = tuple(round(255 * part) for part in (red, green, blue))
        if all(sum((a - b) ** 2 for a, b in zip(candidate, other)) >= DISTANCE**2 for other in chosen):
            chosen.append(candidate)
            colours.append("#{:02x}{:02x}{:02x}".format(*candidate))
    return tuple(colours)


def _numbers(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
