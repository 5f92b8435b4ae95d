"""What others have published or what was measured of their code, with its source, and the goals of this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NASGEM = "NASGEM, AAAI 2021"
HERE = "on these cells"
"""In the label of a figure that was measured on the same cells, not quoted from a paper."""
PROPORTIONS = (10, 20, 30, 50, 70, 100)


def at(settings: Sequence[int], *figures: float | None) -> dict[int, float]:
    """Figures by setting, those that are known."""
    return {setting: figure for setting, figure in zip(settings, figures, strict=True) if figure is not None}


TABLE3: dict[str, Mapping[int, float]] = {
    f"adj. matrix ({NASGEM}, Table 3)": at(PROPORTIONS, 0.42, 0.45, 0.44, 0.44, 0.46, 0.46),
    f"MLP ({NASGEM}, Table 3)": at(PROPORTIONS, 0.45, 0.47, 0.44, 0.45, 0.46, 0.47),
    f"NASGEM ({NASGEM}, Table 3)": at(PROPORTIONS, 0.48, 0.53, 0.53, 0.55, 0.54, 0.55),
    "goal of NASGEM": at(PROPORTIONS, 0.68, None, None, None, None, 0.80),
}
TABLE4: dict[str, Mapping[int, float]] = {
    f"adj. matrix ({NASGEM}, Table 4)": at(PROPORTIONS, 0.47, 0.64, 0.62, 0.66, 0.67, 0.66),
    f"MLP ({NASGEM}, Table 4)": at(PROPORTIONS, 0.57, 0.58, 0.66, 0.63, 0.62, 0.71),
    f"NASGEM ({NASGEM}, Table 4)": at(PROPORTIONS, 0.76, 0.82, 0.84, 0.85, 0.85, 0.85),
    "goal of NASGEM": at(PROPORTIONS, 0.88, None, None, None, None, 0.95),
}
FIGURE5: dict[str, Mapping[int, float]] = {"goal with the embedding": {200: 0.5, 2000: 0.3}}

SIZES_101 = (100, 172, 424, 4236)
NASBENCH101: dict[str, Mapping[int, float]] = {
    "neural predictor, GCN (Wen et al., ECCV 2020), published": at(SIZES_101, 0.391, 0.545, 0.679, 0.769),
    "arch2vec (Yan et al., NeurIPS 2020), published": at(SIZES_101, 0.435, 0.511, 0.547, 0.596),
    "D-VAE (Zhang et al., NeurIPS 2019), published": at(SIZES_101, 0.530, 0.549, 0.626, 0.698),
    "GATES (Ning et al., ECCV 2020), published": at(SIZES_101, 0.605, 0.659, 0.691, 0.822),
    "TNASP (Lu et al., NeurIPS 2021), published": at(SIZES_101, 0.600, 0.669, 0.705, 0.820),
    "PINAT (Lu et al., AAAI 2023), published": at(SIZES_101, 0.679, 0.715, 0.772, 0.846),
    "PINAT + ranking loss, published": at(SIZES_101, 0.717, 0.764, 0.812, 0.854),
    "NN-Former (CVPR 2025), published": at(SIZES_101, 0.709, 0.765, 0.809, 0.877),
    "PINAT, its code on these cells, 3 seeds (424: 1)": at(SIZES_101, 0.666, 0.711, 0.786, None),
    "PINAT + pairwise loss, its code on these cells, 3 seeds (424: 2)": at(SIZES_101, 0.676, 0.718, 0.787, None),
    "NN-Former, its code on these cells, 1 seed": at(SIZES_101, None, 0.738, None, None),
    "WL-kernel Gaussian process on these cells, 3 seeds": at(SIZES_101, 0.539, 0.618, 0.681, 0.773),
    "XGBoost on path and degree counts on these cells, 20 seeds (4236: 3)": at(SIZES_101, 0.702, 0.735, 0.772, 0.830),
    "goal: above": at(SIZES_101, 0.72, 0.77, 0.82, 0.88),
}
SIZES_201 = (78, 156, 469, 781, 1563)
NASBENCH201: dict[str, Mapping[int, float]] = {
    "best of PINAT and NN-Former, published": at(SIZES_201, 0.549, 0.804, 0.706, 0.761, 0.890),
    "goal: above": at(SIZES_201, 0.56, 0.81, 0.82, 0.85, 0.90),
}
PEERS = "better of DTA-GT (NeurIPS 2026) and NN-Former as run there, published"
"""Both learn and rank mean validation accuracies, of all cells: github.com/ZengYuXiang7/GraphRegression."""
VALIDATION_101: dict[str, Mapping[int, float]] = {PEERS: at(SIZES_101, 0.707, 0.754, 0.801, 0.8845)}
VALIDATION_201: dict[str, Mapping[int, float]] = {PEERS: at(SIZES_201, None, 0.806, 0.864, 0.885, 0.914)}
SEARCH: dict[str, Mapping[int, float]] = {
    "others elsewhere, published: from": {150: 94.10},
    "others elsewhere, published: to": {150: 94.15},
    "goal: at least": {150: 94.15},
}
