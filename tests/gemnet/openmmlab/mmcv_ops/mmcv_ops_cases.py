"""Random boxes, scores and RoIs of many kinds, and how the operators are called with them."""

import math

import numpy as np
import torch

KINDS = ("spread", "grid", "identical", "flat", "inverted", "outside", "huge")
THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.8, 0.9, 1.0)
METHODS = {"naive": 0, "linear": 1, "gaussian": 2}
DTYPES = {torch.float16: 2e-3, torch.bfloat16: 2e-2}  # a few units in the last place of 11 and 8 bits


def draw_boxes(kind, count, seed):
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 100, (count, 2)), rng.uniform(1, 50, (count, 2))
    match kind:
        case "grid":  # many IoUs are fractions like 3 / 10, and thresholds too
            low, size = low // 5, size // 5 + 1
        case "identical":
            low[:], size[:] = 10.5, 20.25
        case "flat":
            size *= rng.random((count, 2)) < 0.6
        case "inverted":
            size *= rng.choice([-1, 1], (count, 2))
        case "outside":
            low -= 300
        case "huge":
            scale = 10 ** rng.uniform(4, 17)
            low, size = low * scale, size * scale
    return torch.from_numpy(np.concatenate([low, low + size], 1)).float()


def draw_scores(count, seed, levels=None):
    """Scores above 0 up to 1, all different, or of so many levels."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels + 1, count) / levels if levels else (rng.permutation(count) + 1) / (count + 1)
    return torch.from_numpy(scores).float()


def draw_rois(kind, count, seed, images=3, side=64):
    """RoIs (image, x1, y1, x2, y2) for an image of `side` pixels."""
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 0.7 * side, (count, 2)), rng.uniform(1, 0.6 * side, (count, 2))
    match kind:
        case "outside":
            low += rng.choice([-3 * side, 3 * side], (count, 2))
        case "across the edge":
            low += rng.choice([-side / 2, side / 2], (count, 2))
        case "no size":
            size *= rng.random((count, 2)) < 0.3
        case "larger":
            low, size = -low, size + 2 * side
        case "pixels":
            low, size = low.round(), size.round()
    return torch.from_numpy(np.concatenate([rng.integers(0, images, (count, 1)), low, low + size], 1)).float()


ROI_KINDS = ("inside", "outside", "across the edge", "no size", "larger", "pixels")


def soft_nms(operator, boxes, scores, threshold, sigma, min_score, method, offset):
    dets = boxes.new_full((len(boxes), 5), math.nan)
    kept = operator(
        boxes, scores, dets, iou_threshold=threshold, sigma=sigma, min_score=min_score, method=METHODS[method], offset=offset
    )
    return dets[: len(kept)], kept


def roi_align(forward, backward, features, rois, size, scale, sampling_ratio, aligned, seed=0):
    """The output, a random gradient of it, and the gradient of the features."""
    options = {
        "aligned_height": size[0], "aligned_width": size[1], "spatial_scale": scale,
        "sampling_ratio": sampling_ratio, "pool_mode": 1, "aligned": aligned,
    }  # fmt: skip
    none = features.new_zeros(0)
    output = features.new_zeros(len(rois), features.shape[1], *size)
    forward(features, rois, output, none, none, **options)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output)
    grad_features = torch.zeros_like(features)
    backward(grad, rois, none, none, grad_features, **options)
    return output, grad, grad_features


def gradcheck(function, inputs):
    """Finite differences along random directions: of each input and of the output."""
    return torch.autograd.gradcheck(function, inputs, fast_mode=True)
