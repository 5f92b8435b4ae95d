"""A box of an annotation: [x, y, width, height] in pixels, as it is written or as its segmentation spans it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemnet.annotations.findings import Findings, number

Box = tuple[float, float, float, float]
ROUNDING = 0.01
"""Pixels by which a box may reach out of its image unsaid: COCO's own coordinates have two decimals."""


def box_of(entry: dict[str, Any], place: str, notes: Findings, refused: Findings) -> Box | None:
    """The box of a COCO annotation; None where there is none, which is in `refused` then."""
    given = entry.get("bbox")
    if given is None or given == []:
        box = _spanned(entry.get("segmentation"))
        if box is None:
            refused.add("annotations that have no bbox, and no segmentation to take it from", place, given)
        else:
            notes.add("annotations without a bbox, taken from their segmentation", place)
        return box
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        refused.add("boxes that are not four numbers [x, y, width, height]", place, given)
        return None
    values = [value for value in map(number, given) if value is not None and abs(value) <= 1e9]
    if len(values) < 4:
        refused.add("boxes with a value that is not a finite number of pixels", place, given)
        return None
    if not all(type(value) in (int, float) for value in given):
        notes.add("boxes with numbers written as text, read as numbers", place, given)
    x, y, width, height = values
    if width < 0 or height < 0:
        refused.add("boxes of negative width or height", place, given)
        return None
    return x, y, width, height


def clipped(box: Box, width: int, height: int, place: str, notes: Findings) -> Box | None:
    """The part of a box that lies in an image of `width` x `height`; None where less than a pixel on a side is left of it."""
    x1, y1, x2, y2 = corners(box)
    out = max(-x1, -y1, x2 - width, y2 - height)
    if out > 0:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        inside = (x1, y1, x2 - x1, y2 - y1)
    else:
        inside = box
    if inside[2] <= 0 < box[2] or inside[3] <= 0 < box[3]:
        notes.add("boxes outside of their image, left out", place, list(box))
        return None
    if inside[2] < 1 or inside[3] < 1:
        notes.add("boxes thinner than a pixel, left out", place, list(box))
        return None
    if out > ROUNDING:
        notes.add("boxes that reach out of their image, clipped to it", place, list(box))
    return inside


def fits_as_corners(box: Box, width: int, height: int) -> bool:
    """Whether the four numbers can be corners x1, y1, x2, y2 of a box in an image of `width` x `height`."""
    return 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height


def corners(box: Sequence[float]) -> list[float]:
    """[x1, y1, x2, y2] of a box."""
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def overlaps(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> np.ndarray:
    """Intersection over union of boxes, [len(one), len(other)]."""
    a, b = (np.asarray(boxes, float).reshape(-1, 4) for boxes in (one, other))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    return common / np.maximum(a[:, 2:].prod(-1)[:, None] + b[:, 2:].prod(-1)[None] - common, 1e-9)


def _spanned(segmentation: Any) -> Box | None:
    """The box around polygons [[x, y, x, y, ...], ...] or a run-length encoded mask; None for what is neither."""
    if isinstance(segmentation, dict):
        return _mask_box(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if all(isinstance(polygon, list) for polygon in segmentation) else [segmentation]
    values = [number(value) for polygon in polygons for value in polygon]
    if any(value is None for value in values) or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        return None
    points = np.array(values, dtype=float).reshape(-1, 2)
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    return x1, y1, x2 - x1, y2 - y1


def _mask_box(mask: dict[str, Any]) -> Box | None:
    """pycocotools trusts its input: only runs that fill the mask reach it."""
    from pycocotools import mask as masks

    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and 0 < side < 2**15 for side in size):
        return None
    counts = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or any(type(count) is not int or count < 0 for count in counts):
        return None
    if sum(counts) != size[0] * size[1] or sum(counts[1::2]) == 0:
        return None
    x, y, width, height = masks.toBbox(masks.frPyObjects({"size": size, "counts": counts}, *size)).tolist()
    return x, y, width, height


def _runs(text: str) -> list[int] | None:
    """COCO's compressed runs as numbers: five bits a character, from the third on the difference from the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if shift == 0 else None
