"""What stands before and after a detector's network: photo -> images, and all boxes -> those that are found.

It goes beside exported files as it is, and needs NumPy alone.
"""

from collections.abc import Callable, Iterable

import numpy as np


def detected(
    run: Callable[[np.ndarray], list[np.ndarray]], photos: Iterable[np.ndarray], about: dict
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find what is on each of some photos, uint8 [H, W, 3] in RGB, as `chosen` returns it.

    Args:
        run: The network: images [B, 3, h, w] -> boxes [B, N, 4] and scores [B, N, classes].
        photos: Of any sizes.
        about: The JSON beside the file.
    """
    ready = [prepared(photo, about) for photo in photos]
    boxes, scores = run(np.concatenate([images for images, _, _ in ready]))
    return [chosen(of, by, about, limit, factor) for of, by, (_, limit, factor) in zip(boxes, scores, ready)]


def prepared(photo: np.ndarray, about: dict) -> tuple[np.ndarray, list[int], list[float]]:
    """Make a photo, uint8 [H, W, 3] in RGB, what the network takes.

    Returns:
        images: float32 [1, 3, h, w].
        limit: Width and height that boxes are cut to.
        factor: Width and height of the photo relative to those of the resized one.
    """
    steps, (high, wide) = about["preprocessing"], about["input"]["shape"][2:]
    sides, new = (photo.shape[1], photo.shape[0]), steps["scale"]
    if steps["keep_ratio"]:
        ratio = min(max(new) / max(sides), min(new) / min(sides), wide / sides[0], high / sides[1])  # into the network's size
        new = [max(1, int(side * ratio + 0.5)) for side in sides]
    pixels = _resized(photo, *new)[..., :: -1 if steps["order"] == "BGR" else 1]
    limit = [max(pair) for pair in zip(new, steps["fill_size"] or new)]
    mean, std = (np.array(steps[name], np.float32) for name in ("mean", "std"))
    images = np.zeros((high, wide, 3), np.float32)
    images[: limit[1], : limit[0]] = (np.float32(steps["fill_value"]) - mean) / std
    images[: new[1], : new[0]] = (pixels.astype(np.float32) - mean) / std
    return np.ascontiguousarray(images.transpose(2, 0, 1)[None]), limit, [old / now for old, now in zip(sides, new)]


def chosen(
    boxes: np.ndarray, scores: np.ndarray, about: dict, limit: list[int], factor: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose the boxes that are found among all of a photo, boxes [N, 4] and scores [N, classes], by falling score.

    Returns:
        Boxes [K, 4] (x1, y1, x2, y2 in pixels of the photo), scores [K], labels [K].
    """
    boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1, len(about["classes"]))  # ncnn leaves an axis for the batch
    rules, candidates, start = about["boxes"], [], 0
    for count in rules["levels"]:  # of each map, the best pairs of box and class
        box, label = np.nonzero(scores[start : start + count] > rules["score"])
        best = np.argsort(-scores[box + start, label], kind="stable")[: rules["candidates"]]
        candidates.append(np.stack([box[best] + start, label[best]]))
        start += count
    box, label = np.concatenate(candidates, 1)
    score, corners = scores[box, label], boxes[box]
    if rules["cut"]:
        corners = np.clip(corners, 0, np.array([*limit, *limit], np.float32))
    corners = corners * np.array([*factor, *factor], np.float32)
    sides = corners[:, 2:] - corners[:, :2]
    area, left = sides.prod(1), np.argsort(-score, kind="stable")
    kept: list[int] = []
    if rules["smallest"] >= 0:
        left = left[(sides[left] > rules["smallest"]).all(1)]
    while len(left) and len(kept) < rules["most"]:  # the best of what is left suppresses those of its class that overlap it
        best, left = left[0], left[1:]
        kept.append(best)
        shared = np.minimum(corners[best, 2:], corners[left, 2:]) - np.maximum(corners[best, :2], corners[left, :2])
        shared = shared.clip(0).prod(1)
        overlap = shared / np.maximum(area[best] + area[left] - shared, 1e-9)
        left = left[(overlap <= rules["overlap"]) | (label[left] != label[best])]
    return corners[kept], score[kept], label[kept]


def _resized(photo: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] as OpenCV does, bilinear, in its whole numbers."""
    rows = [(row, weight[:, None, None]) for row, weight in _neighbours(photo.shape[0], height, False)]
    columns = [(column, weight[:, None]) for column, weight in _neighbours(photo.shape[1], width, True)]
    parts = []
    for row, row_weight in rows:
        line = photo[row].astype(np.int32)
        (left, left_weight), (right, right_weight) = columns
        line = (line[:, left] * left_weight + line[:, right] * right_weight) >> 4
        parts.append(line * row_weight >> 16)
    return ((parts[0] + parts[1] + 2) >> 2).astype(np.uint8)


def _neighbours(old: int, new: int, edge: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each new pixel, the two old ones between which it lies, each with its weight in parts of 2048."""
    at = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    low = np.floor(at)
    share = at - low
    if edge:  # beside the photo, columns are the edge's
        share = np.where((low >= 0) & (low < old - 1), share, np.float32(0))
    pairs = ((low, 1 - share), (low + 1, share))
    return [(place.clip(0, old - 1).astype(int), np.round(part * 2048).astype(np.int32)) for place, part in pairs]
