"""The published networks by name: their cells and widths, where these facts are from, and NASGEM's Table 1 beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from gemnet.core.errors import UserError
from search.experiments.published import genotypes
from search.experiments.published.genotypes import Genotype
from search.experiments.published.network import GenotypeNetwork
from search.experiments.published.randwire import RandWire


@dataclass(frozen=True)
class Published:
    """A network of the literature.

    Attributes:
        title: As the table has it.
        source: Where its cells and its width are from.
        params_m: Params in NASGEM's Table 1, in millions.
        macs_m: MACs there, in millions, at 224 pixels; None where the table has none.
        genotype: Its cells; None for RandWire's random graphs.
        channels: Of a node in the first cells, or of RandWire's first random stage.
        note: What is known of a difference of more than 1 %.
    """

    title: str
    source: str
    params_m: float
    macs_m: float | None
    genotype: Genotype | None = None
    channels: int = 48
    note: str = ""


UNEXPLAINED = "Not explained."
NETWORKS = {
    "randwire": Published(
        "RandWire-WS",
        "Xie et al., ICCV 2019, WS(4, 0.75); its graphs are drawn anew here",
        5.6,
        583,
        channels=78,
    ),
    "darts": Published(
        "DARTS",
        "quark0/darts, `DARTS_V2` and train_imagenet.py",
        4.7,
        574,
        genotypes.DARTS,
        note=f"The second count explains about a third of the difference in MACs. The rest: {UNEXPLAINED.lower()}",
    ),
    "p_darts": Published(
        "P-DARTS",
        "chenxin061/pdarts, `PDARTS` and train_imagenet.py",
        5.1,
        577,
        genotypes.P_DARTS,
        note="Its README has ImageNet errors of 24.4 and 7.4 % for the cells that it publishes; Table 1 has 24.7 and 7.5 %, "
        "and so another pair of cells, which the repository does not have.",
    ),
    "pc_darts": Published(
        "PC-DARTS",
        "yuhuixu1993/PC-DARTS, `PCDARTS` and train_imagenet.py",
        5.3,
        586,
        genotypes.PC_DARTS,
        note="The second count explains it.",
    ),
    "snas_mild": Published(
        "SNAS, mild",
        "SNAS-Series/SNAS-Series, `SNAS_mild`; the width of train_imagenet.py",
        4.3,
        522,
        genotypes.SNAS_MILD,
        50,
        note="The repository does not tell which cells Table 1's figures are of. " + UNEXPLAINED,
    ),
    "snas_moderate": Published(
        "SNAS, moderate",
        "SNAS-Series/SNAS-Series, `SNAS_moderate`, the default of train_imagenet.py, as its width is",
        4.3,
        522,
        genotypes.SNAS_MODERATE,
        50,
        note="Its params are farther from Table 1's than those of the mild ones. " + UNEXPLAINED,
    ),
    "gdas": Published(
        "GDAS", "D-X-Y's GDAS, `GDAS_V1`; the README's `train-imagenet.sh 0 GDAS_V1 50 14`", 5.3, 581, genotypes.GDAS, 50
    ),
    "milenas": Published(
        "MiLeNAS, the README's",
        "chaoyanghe/MiLeNAS, `GDAS_MIXED_LEVEL2` and train_imagenet.py",
        4.9,
        570,
        genotypes.MILENAS_GDAS_MIXED_LEVEL2,
        note="The repository does not tell which of its genotypes was trained on ImageNet; by its cost, it was not this one.",
    ),
    "milenas_v2": Published(
        "MiLeNAS, chosen by its cost",
        "chaoyanghe/MiLeNAS, `V2_r3_e50`, taken because its cost is near Table 1's, and train_imagenet.py",
        4.9,
        570,
        genotypes.MILENAS_V2_R3_E50,
        note="The second count explains it, for cells that were chosen by it.",
    ),
    "bayesnas": Published(
        "BayesNAS",
        "BayesNAS/BayesNAS, CNN/pre_trained/imagenet/OneShot.py and the width of CNN/net_imagenet.py",
        3.9,
        None,
        genotypes.BAYESNAS,
        note=UNEXPLAINED,
    ),
}
"""By name."""


def published(name: str, **settings: Any) -> nn.Module:
    """Build a published network with fresh weights, for images of ImageNet unless `settings` say otherwise.

    Args:
        name: one of `NETWORKS`.
        settings: of `GenotypeNetwork` (`channels`, `layers`, `num_classes`, `in_chans`, `stem_stride`), or of `RandWire`
            (`channels`, `seed`, `num_classes`, `in_chans`, `stem_stride`).

    Raises:
        UserError: for another name; the message lists those that there are.
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; expected one of {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    settings = {"channels": entry.channels, **settings}
    return RandWire(**settings) if entry.genotype is None else GenotypeNetwork(entry.genotype, **settings)
