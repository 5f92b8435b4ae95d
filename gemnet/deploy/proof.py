"""Proof that an exported detector finds what its model finds: the boxes of both on the same photos, one by one.

Two computations of the same numbers differ in the last digits. Where a choice hangs on these, as whether a box is above the
threshold of scores, the 300th or 301st, overlaps a better one by .6500001, or is the better of two that overlap, either answer
is right: a tie. A box that the other has not is taken for a tie only within the differences that the matched boxes show, and
ties are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

IOU, SCORE = 0.99, 1e-3
"""A box is the same where it overlaps by more than the one, and its score differs by no more than the other."""
NEAR = 0.01
"""Pixels between the corners of two boxes that are thinner than a pixel, and the same."""
MOVED = 0.9
"""From this overlap on, two boxes without a partner are the same one in two places, a mistake."""
SMALLEST = 1e-5
"""A difference of scores or overlaps of this size is always possible: some digits of float32."""


@dataclass(frozen=True)
class Limits:
    """What decides which boxes a detector keeps: `score` and `overlap` are thresholds, `most` boxes of a photo are kept."""

    score: float
    overlap: float
    most: int


@dataclass(frozen=True)
class Found:
    """Boxes [N, 4] (x1, y1, x2, y2 in pixels), scores [N] and labels [N] of a photo."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Agreement:
    """How two detectors agree: photos and boxes compared, the least overlap, the largest difference of scores, ties.

    mistake: what they do not agree on, in words; empty where they do.
    """

    photos: int = 0
    boxes: int = 0
    overlap: float = 1.0
    score: float = 0.0
    ties: int = 0
    mistake: str = ""

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.photos + other.photos, self.boxes + other.boxes, min(self.overlap, other.overlap),
            max(self.score, other.score), self.ties + other.ties, self.mistake or other.mistake,
        )  # fmt: skip

    def __str__(self) -> str:
        if not self.boxes:
            return f"no box on {self.photos} photos, and so in the file"
        ties = f", {self.ties} more are ties" if self.ties else ""
        return (
            f"{self.boxes:,} boxes on {self.photos} photos as the detector's own: IoU at least {self.overlap:.5f}, "
            f"scores within {self.score:.0e}{ties}"
        )


def compare(own: Found, other: Found, limits: Limits, name: str = "") -> Agreement:
    """Match the boxes of one photo, class by class; `name` of the photo is told where they differ."""
    pairs, overlap, score = _matched(own, other)
    agreed = Agreement(1, len(pairs), overlap, score)
    left = [_without(found, {pair[side] for pair in pairs}) for side, found in enumerate((own, other))]
    tolerance = (max(2 * score, SMALLEST), max(4 * (1 - overlap), SMALLEST))
    sides = (own, other)
    ties: tuple[list[int], list[int]] = ([], [])
    while any(left):
        before = sum(map(len, ties))
        for side in (0, 1):
            one, two = sides[side], sides[1 - side]
            for index in list(left[side]):
                alone = [*left[1 - side], *ties[1 - side]]
                if (
                    _tied(one, index, two, limits, tolerance)
                    or _outranked(one, index, two, alone, limits, tolerance)
                    or _freed(one, index, two, ties[1 - side], limits, tolerance)
                ):
                    left[side].remove(index)
                    ties[side].append(index)
        if sum(map(len, ties)) == before:
            return replace(agreed, ties=before, mistake=_told(sides, left, name))
    return replace(agreed, ties=sum(map(len, ties)))


def _matched(own: Found, other: Found) -> tuple[list[tuple[int, int]], float, float]:
    """Pairs of the same box, the least overlap among them, and the largest difference of their scores."""
    if not len(own.scores) or not len(other.scores):
        return [], 1.0, 0.0
    overlaps = box_iou(own.boxes.double(), other.boxes.double())
    near = (own.boxes[:, None] - other.boxes[None]).abs().amax(2) < NEAR
    overlaps[near & (_thin(own.boxes)[:, None] | _thin(other.boxes)[None])] = 1.0
    apart = (own.scores.double()[:, None] - other.scores.double()[None]).abs()
    fits = (own.labels[:, None] == other.labels[None]) & (overlaps > IOU) & (apart <= SCORE)
    quality = torch.where(fits, overlaps - apart, -1.0)
    pairs = []
    for index in range(len(own.scores)):
        best = int(quality[index].argmax())
        if quality[index, best] > 0:
            pairs.append((index, best))
            quality[:, best] = -1.0
    if not pairs:
        return [], 1.0, 0.0
    places = tuple(torch.tensor(pairs).T)
    return pairs, overlaps[places].min().item(), apart[places].max().item()


def _thin(boxes: Tensor) -> Tensor:
    """Which of the boxes are thinner than a pixel: their overlaps say nothing."""
    return (boxes[:, 2:] - boxes[:, :2]).amin(1) < 1


def _without(found: Found, taken: set[int]) -> list[int]:
    return [index for index in range(len(found.scores)) if index not in taken]


def _tied(one: Found, index: int, two: Found, limits: Limits, tolerance: tuple[float, float]) -> bool:
    """Whether a box of one that the other has not is as near to a limit as the two differ."""
    score = one.scores[index].item()
    least = two.scores.min().item() if len(two.scores) >= limits.most else limits.score
    if score <= least + tolerance[0]:
        return True
    scores, overlaps = _rivals(one, index, two, range(len(two.scores)))
    near = (overlaps - limits.overlap).abs() <= tolerance[1]
    return bool((near & (scores >= score - tolerance[0])).any())


def _outranked(
    one: Found, index: int, two: Found, alone: Sequence[int], limits: Limits, tolerance: tuple[float, float]
) -> bool:
    """Whether the other has, in place of this box, one that overlaps it and has the same score: either could be the better.

    Two that overlap by MOVED or more are one that is moved.
    """
    scores, overlaps = _rivals(one, index, two, alone)
    as_good = (scores - one.scores[index]).abs() <= tolerance[0]
    return bool((as_good & (limits.overlap < overlaps) & (overlaps < MOVED)).any())


def _freed(one: Found, index: int, two: Found, ties: Sequence[int], limits: Limits, tolerance: tuple[float, float]) -> bool:
    """Whether the other has no such box because a tie of its own suppresses it."""
    _, overlaps = _rivals(one, index, two, ties)
    return bool((overlaps > limits.overlap - tolerance[1]).any())


def _rivals(one: Found, index: int, two: Found, among: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Scores of those boxes of the other that have the class of this one, and their overlaps with it."""
    places = [place for place in among if two.labels[place] == one.labels[index]]
    return two.scores[places], box_iou(one.boxes[index : index + 1].double(), two.boxes[places].double())[0]


def _told(sides: tuple[Found, Found], left: Sequence[Sequence[int]], name: str) -> str:
    side = 0 if left[0] else 1
    found, index = sides[side], left[side][0]
    box = ", ".join(f"{value:.1f}" for value in found.boxes[index].tolist())
    who = ("the detector", "the file")
    told = f"{who[side]} finds a box ({box}) of class {int(found.labels[index])} with score {found.scores[index]:.4f}"
    return f"{name}: {told} that {who[1 - side]} does not; {len(left[0])} and {len(left[1])} boxes have no partner"
