"""Splits for a data set that lacks them: the same on every machine, with copies of an image on one side."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemnet.core.errors import DataError
from gemnet.detection.data.scanning import ImageFacts
from gemnet.detection.data.similarity import PerceptualHashes, connected, exact_copies, near_copies
from gemnet.detection.data.sources import SPLITS

SHARE = 0.15
"""Of the training images, for a split that is missing."""
NO_BOX = -1

Images = list[dict[str, Any]]


def divide(
    root: Path, splits: Mapping[str | None, Images], facts: Mapping[str, ImageFacts], seed: int, hashes: PerceptualHashes
) -> tuple[dict[str, Images], list[str]]:
    """All three splits, where one that is missing is taken from the training images; and what was done, in words.

    Images that are copies of each other, or nearly, stay together. Each class is shared out by itself, the rarest first. Raises
    DataError where there are too few images.
    """
    found = {split: splits.get(split) or [] for split in SPLITS}
    found["train"] = found["train"] or splits.get(None) or []
    if not found["train"]:
        raise DataError(f"{root}: has images to validate or test with, but none to train on")
    missing = [split for split in ("val", "test") if not found[split]]
    if not missing:
        return found, []
    images = {image["file_name"]: image for image in found["train"]}
    if len(images) <= len(missing):
        raise DataError(f"{root}: {len(images)} images are too few to train, validate and test with; expected at least 3")
    groups, told = _groups(images, facts, hashes, len(missing) + 1)
    labels = {name: {box["category_id"] for box in image["boxes"]} or {NO_BOX} for name, image in images.items()}
    chosen = _assigned(groups, labels, missing, seed)
    for split in ("train", *missing):
        found[split] = [images[name] for name in sorted(chosen[split])]
    kept = f"; {len(images) - len(groups)} near-copies stay beside their images" if len(groups) < len(images) else ""
    made = " and ".join(f"{split} ({len(found[split])} images)" for split in missing)
    source = "the training images" if splits.get("train") else "the images"
    return found, [f"the data have no split for {' and '.join(missing)}: {made} taken from {source}, seed {seed}{kept}", *told]


def _groups(
    images: Mapping[str, Any], facts: Mapping[str, ImageFacts], hashes: PerceptualHashes, least: int
) -> tuple[list[list[str]], list[str]]:
    """Images in groups that stay together; in smaller ones, aloud, where that leaves too little to choose from."""
    own = {name: facts[name] for name in sorted(images)}
    copies = [(group[0], other) for group in exact_copies(hashes.root, own) for other in group[1:]]
    near = near_copies(hashes, list(own))
    for pairs in (copies + near, copies):
        groups = connected(images, pairs)
        if len(groups) >= least and max(map(len, groups)) <= (1 - SHARE) * len(images):
            return groups, [] if pairs or not near else [_alike(images)]
    return connected(images, []), [_alike(images)]


def _alike(images: Mapping[str, Any]) -> str:
    return f"most of the {len(images)} images look alike, so that copies are in several splits: what is measured is too good"


def _assigned(groups: list[list[str]], labels: Mapping[str, set[int]], missing: list[str], seed: int) -> dict[str, list[str]]:
    """The images of each split, groups whole: for each class, the rarest first, to the split that lacks most of it.

    It is the iterative stratification of Sechidis, Tsoumakas and Vlahavas (2011), on groups.
    """
    total = sum(map(len, groups))
    count = {split: max(1.0, round(SHARE * total)) for split in missing}
    count = {"train": total - sum(count.values()), **count}
    frequency = Counter(label for own in labels.values() for label in own)
    lacks = {split: {label: number * count[split] / total for label, number in frequency.items()} for split in count}
    left = {group[0]: group for group in sorted(groups, key=lambda group: _draw(seed, group[0]))}
    chosen: dict[str, list[str]] = {split: [] for split in count}
    for label, _ in sorted(frequency.items(), key=lambda entry: (entry[1], entry[0])):
        for first, group in list(left.items()):
            if not any(label in labels[name] for name in group):
                continue
            room = [split for split in count if len(chosen[split]) < count[split]] or list(count)
            split = max(room, key=lambda split: (lacks[split][label], count[split] - len(chosen[split])))
            chosen[split] += group
            del left[first]
            for other, number in Counter(other for name in group for other in labels[name]).items():
                lacks[split][other] -= number
    for split in missing:  # by rounding, where there are few images
        if not chosen[split]:
            spare = max(chosen, key=lambda other: len(chosen[other]))
            group = next(group for group in reversed(groups) if group[0] in chosen[spare] and len(group) < len(chosen[spare]))
            chosen[spare] = [name for name in chosen[spare] if name not in group]
            chosen[split] = list(group)
    return chosen


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).hexdigest()
