"""What the parts of a reproduction share: units of work, what they give, and what a part is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from search.core.fingerprint import fingerprint

TUNING_SEEDS = 1000
"""Settings are chosen on seeds from here on; what is reported has seeds below."""


@dataclass(frozen=True)
class Unit:
    """One measurement, and all that its figures depend on.

    group: the parts that share results share this name. row: of the table. setting: its column, such as a number of cells.
    recipe: every number behind it, as JSON has them; under another recipe it is another unit.
    """

    group: str
    row: str
    setting: int
    seed: int
    recipe: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Equal for equal units, in any process."""
        return fingerprint(asdict(self))


def planned(group: str, seeds: Sequence[int], recipes: Mapping[str, Mapping[str, Any]], settings: Sequence[int]) -> list[Unit]:
    """All units of some rows, given by their recipes, and settings: one seed of every row before the next seed."""
    return [Unit(group, row, s, seed, recipe) for seed in seeds for row, recipe in recipes.items() for s in settings]


@dataclass(frozen=True)
class Measured:
    """What a unit gave. figures: by name, for tables; seeds are averaged over. series: by name, numbers for plots."""

    figures: Mapping[str, float]
    series: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A unit that is done; seconds: its wall time, with the training of an encoder where it was not kept from before."""

    unit: Unit
    measured: Measured
    seconds: float


@dataclass(frozen=True)
class Context:
    """Where a unit finds what it needs. data: the benchmarks' compact files, see `search.spaces.benchmark_files.find_file`.

    directory: the work directory, for encoders that several units share.
    """

    data: str | None
    directory: Path


@dataclass(frozen=True)
class Comparison:
    """`row` beside `against` in `figure`, seed by seed."""

    row: str
    against: str
    figure: str


def of_first_seed(results: Sequence[Result]) -> list[Result]:
    """Those that a plot shows where it shows one seed alone."""
    return [result for result in results if result.unit.seed == results[0].unit.seed]


@dataclass(frozen=True)
class Shown:
    """What a picture is made of, as the files beside it have it (`pictures.read_shown`).

    results: of every row, setting and seed, with figures alone. points: what the picture shows beyond them, a mapping a line,
    its columns' names to text, numbers, or None where nothing stands.
    """

    results: Sequence[Result]
    points: Sequence[Mapping[str, Any]] = ()


Draw = Callable[[Figure, Shown], None]
"""Fills an empty figure."""


@dataclass(frozen=True)
class Part:
    """A table or figure that one command makes.

    about: what it is. shows: what its picture shows, for those who do not see it. seeds: how many it reports by default. units:
    (seeds, quick) -> all units, as `planned` orders them. measure: runs in any process. table: summary (see
    `summary.summarized`) -> Markdown. draw: makes the picture, of what was written to files. comparisons: paired over the seeds
    in the summary. points: results -> columns and rows of what the picture shows beyond `figures`.
    """

    name: str
    about: str
    shows: str
    seeds: int
    units: Callable[[Sequence[int], bool], list[Unit]]
    measure: Callable[[Unit, Context], Measured]
    table: Callable[[Mapping[str, Any]], str]
    draw: Draw
    comparisons: tuple[Comparison, ...] = ()
    points: Callable[[Sequence[Result]], tuple[Sequence[str], list[Sequence[Any]]]] | None = None
