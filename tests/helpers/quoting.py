"""What pages quote, beside the data files that it comes from."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import mean_and_deviation
from search.experiments.paper.output import FOLDER
from search.experiments.svge import pages
from search.experiments.svge.measuring import COLUMNS

ROOT = Path(__file__).resolve().parents[2]


def assert_quotes(page: str, *expected: str) -> None:
    """Each text of `expected`, made from its source, stands in `page`, a path below the repository, however lines break."""
    words = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    missing = [text for text in expected if " ".join(text.split()) not in words]
    assert not missing, f"{page} does not have, as its source: {missing}"


@functools.cache
def read(path: str) -> Any:
    """The content of a JSON file of the repository, or the list of a file of JSON lines."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.endswith(".jsonl") else json.loads(text)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation of `values`."""
    return mean_and_deviation(statistics.mean(values), statistics.stdev(values), digits)


def paper(part: str, row: str, setting: int, figure: str) -> Mapping[str, Any]:
    """Mean and deviation of a figure in docs/results/paper/<part>.json."""
    (found,) = [entry for entry in read(f"{FOLDER}/{part}.json")["rows"] if (entry["row"], entry["setting"]) == (row, setting)]
    return found["figures"][figure]


def means(part: str, row: str, settings: Sequence[int], figure: str, digits: int = 3) -> list[str]:
    """The means of a figure at several settings, as the tables write them."""
    return [f"{paper(part, row, setting, figure)['mean']:.{digits}f}" for setting in settings]


def svge(space: str, measure: str, model: str = "SVGe") -> str:
    """A measure of docs/results/svge/<space>.json, as the tables write it: mean ± deviation."""
    values = read(f"{pages.FOLDER}/{space}.json")["values"]["measures"]["models"][model][measure]
    shown = COLUMNS[measure].shown(values, len(values["seeds"]))
    assert shown is not None
    return shown


def svge_mean(space: str, measure: str, model: str = "SVGe") -> str:
    """The same without the deviation."""
    return svge(space, measure, model).split(" ± ")[0]


def speed_against_peer(setting: str) -> str:
    """How many times the first model of configs/benchmark.json is as fast as mnasnet1_3 in `setting`."""
    models = {row["name"]: row for row in read("configs/benchmark.json")["models"]}
    seconds = [models[name]["rates"][setting]["seconds"]["median"] for name in ("torchvision/mnasnet1_3", "timm/gemnet_a")]
    return f"{seconds[0] / seconds[1]:.2f}"
