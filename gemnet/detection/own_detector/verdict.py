"""What a test says in words: does it learn, would more time or more photos help, are labels doubtful, objects too small?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemnet.detection.data import Prepared
from gemnet.detection.own_detector.choices import SMALL, facts
from gemnet.detection.own_detector.measures import BACKGROUND, OVERLAP, Figures, Mistakes

LEARNS, WELL = 0.2, 0.6
"""AP50 from which on a detector has learned something, and from which on it does well."""
RISING = 0.01
"""By how much validation AP grows in the last third of a run that would gain by more time."""
BY_HEART = 0.15
"""By how much AP on training images is above the test's where photos are too few."""
FEW_OBJECTS = 50
"""Objects of a class to train on, below which it is told as starved."""
SURE = 0.6
"""The score from which on a prediction of nothing makes a label doubtful."""
DOUBTFUL = 0.05
"""The share of the objects that such predictions may reach."""
CONFUSED = 0.15
"""The share of a class's objects that are taken for another one."""


@dataclass(frozen=True)
class Sentence:
    """A judgement.

    Attributes:
        kind: learns, time, photos, labels, confusion, size, or search, of a search for the cell before the training.
        says: The judgement, and what to do.
        evidence: The figures that it rests on.
    """

    kind: str
    says: str
    evidence: str


def verdict(
    prepared: Prepared,
    plan: Mapping[str, Any],
    tested: Figures,
    of_training: Figures,
    validations: Sequence[Mapping[str, float]],
    listed: Sequence[Mistakes],
    confusions: Mapping[str, Mapping[str, int]],
) -> list[Sentence]:
    """The sentences that the figures bear out, the most important first."""
    found = [_learns(tested)]
    found += _time(validations)
    found += _photos(prepared, tested, of_training)
    found += _size(prepared, plan, tested)
    found += _labels(listed)
    found += _confusion(confusions)
    return found


def _learns(tested: Figures) -> Sentence:
    half = tested.ap50
    evidence = f"AP50 {_shown(half)}, AP {_shown(tested.ap)} on the test images"
    if half is None:
        return Sentence("learns", "The test has no object: nothing can be said. Label some of its photos.", evidence)
    if half < LEARNS:
        return Sentence("learns", "It has hardly learned yet. Look at the labels in the report, then train longer.", evidence)
    if half < WELL:
        return Sentence("learns", "It learns: many objects are found, many are not.", evidence)
    return Sentence("learns", "It learns well: most objects are found.", evidence)


def _time(validations: Sequence[Mapping[str, float]]) -> list[Sentence]:
    if len(validations) < 4:
        return []
    last = validations[-1]["iteration"]
    early = max((one["AP"] for one in validations if one["iteration"] <= 2 * last / 3), default=0.0)
    best, end = max(one["AP"] for one in validations), validations[-1]["AP"]
    if end - early < RISING or best - end > RISING / 2:  # it has come to rest, or falls
        return []
    says = "Validation AP still rose in the last third: more time is likely to help."
    return [Sentence("time", says, f"{early:.3f} after two thirds of the run, {end:.3f} at the end")]


def _photos(prepared: Prepared, tested: Figures, of_training: Figures) -> list[Sentence]:
    found = []
    if tested.ap is not None and of_training.ap is not None and of_training.ap - tested.ap > BY_HEART:
        says = "It knows the training photos much better than new ones: more, and more varied, photos would help."
        found.append(Sentence("photos", says, f"AP {of_training.ap:.3f} on training images, {tested.ap:.3f} on the test's"))
    counts = _objects(prepared)
    few = {name: count for name, count in counts.items() if 0 < count < FEW_OBJECTS}
    if few:
        told = ", ".join(f"{name} {count}" for name, count in sorted(few.items(), key=lambda item: item[1])[:8])
        says = f"{'A class has' if len(few) == 1 else f'{len(few)} classes have'} few objects to learn from."
        found.append(Sentence("photos", says, f"to train on, fewer than {FEW_OBJECTS}: {told}"))
    return found


def _objects(prepared: Prepared) -> dict[str, int]:
    """By class, its objects to train on."""
    content = json.loads(prepared.files["train"].read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in content["categories"]}
    counts = dict.fromkeys(names.values(), 0)
    for one in content["annotations"]:
        counts[names[one["category_id"]]] += 1
    return counts


def _size(prepared: Prepared, plan: Mapping[str, Any], tested: Figures) -> list[Sentence]:
    sides = facts(prepared.files["train"]).sides
    longer = max(plan["image_size"])
    tiny = sum(side * longer < SMALL for side in sides) / len(sides)
    if tiny < 0.1:
        return []
    says = f"Many objects are very small at this image size: try --image-size {longer * 2}, which takes four times as long."
    return [Sentence("size", says, f"{tiny:.0%} of the objects are below {SMALL} pixels on images of {longer}")]


def _labels(listed: Sequence[Mistakes]) -> list[Sentence]:
    objects = sum(len(entry.truths) for entry in listed)
    odd = [entry for entry in listed if any(score >= SURE and not right for _, _, score, right in entry.found)]
    count = sum(score >= SURE and not right for entry in listed for _, _, score, right in entry.found)
    if not objects or count <= DOUBTFUL * objects or count < 3:
        return []
    says = "Labels may be missing or wrong: the detector is sure of objects that nobody has labelled so."
    where = ", ".join(str(entry.image["file_name"]) for entry in odd[:3])
    return [Sentence("labels", says, f"{count} predictions with a score of {SURE} or more are of no object, as in {where}")]


def _confusion(confusions: Mapping[str, Mapping[str, int]]) -> list[Sentence]:
    found = []
    for true, row in confusions.items():
        whole = sum(row.values())
        for name, count in row.items():
            if true not in (name, BACKGROUND) and name != BACKGROUND and count >= 3 and count > CONFUSED * whole:
                says = f"{true} is often taken for {name}: are the two told apart alike in all photos?"
                evidence = f"{count} of {whole} objects, at an overlap of {OVERLAP}"
                found.append(Sentence("confusion", says, evidence))
    return found


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
