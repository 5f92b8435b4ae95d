"""What the time of a network hangs on: work and traffic of its layers, summed by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gemnet.architecture import Architecture
from gemnet.complexity import operator_cost

Features = Mapping[str, float]
"""By name; what is not there is 0."""


def layer_features(architecture: Architecture, resolution: tuple[int, int]) -> Features:
    """Work and traffic of a network's layers, summed by kind.

    Of each operator: its nodes, MACs, params, and elements read and written. Of concatenations and pools: their number and
    elements. Of the head, the one part outside the cells whose size differs: MACs.

    Args:
        architecture: of the network.
        resolution: height and width of an image, in pixels.
    """
    found: Counter[str] = Counter()
    cell = architecture.cell.pruned()
    channels, size = architecture.stem_width, resolution
    if architecture.stem_stride == 2:
        size = _halved(size)
    for stage, (width, depth) in enumerate(zip(architecture.widths, architecture.depths)):
        if stage:
            found["pool"] += 1
            found["pool elements"] += channels * size[0] * size[1]
            size = _halved(size)
        for _ in range(depth):
            _add_cell(found, architecture, channels, width, size)
            channels = len(cell.leaves) * width
    head = architecture.head_width
    found["head MACs"] = channels * head * size[0] * size[1]
    found["edges"] = len(cell.edges) * sum(architecture.depths)
    return found


def _add_cell(found: Counter[str], architecture: Architecture, channels: int, width: int, size: tuple[int, int]) -> None:
    """Add one cell, whose input has `channels` and whose nodes have `width`, on maps of `size`."""
    cell, pixels = architecture.cell.pruned(), size[0] * size[1]
    for name, before in zip(cell.nodes[1:], cell.predecessors[1:]):
        read = sum(channels if u == 0 else width for u in before)
        cost = operator_cost(name, read, width, size)
        found[name] += 1
        found[f"{name} MACs"] += cost.macs
        found[f"{name} params"] += cost.params
        found[f"{name} read"] += read * pixels
        found[f"{name} written"] += cost.activations
        if len(before) > 1:
            found["concatenation"] += 1
            found["concatenation elements"] += read * pixels
    if len(cell.leaves) > 1:
        found["concatenation"] += 1
        found["concatenation elements"] += len(cell.leaves) * width * pixels


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2
