"""What is compared: benchmarks, the searches on each, and their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gemnet.core.configs import FOLDER
from search.configuration.sections import decisive
from search.configuration.settings import load_settings
from search.core.fingerprint import fingerprint
from search.core.types import SearchError

DEFAULT, NASGEM, EVOLUTION, RANDOM = "default", "NASGEM", "regularized evolution", "random search"
GRAPHS, ENSEMBLE = "with graph networks", "ensemble on counts"
METHODS = (DEFAULT, NASGEM, EVOLUTION, RANDOM)
"""In the order of tables and legends; those of a benchmark's own come after them."""
VERSION = 1
"""Of how a search is followed: what another one has measured is not taken for this one's."""


@dataclass(frozen=True)
class Recipe:
    """A config of `configs/search`, and what is other than in it, as `load_settings` takes it."""

    config: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Where searches are compared.

    Attributes:
        title: As tables and pictures name it.
        budget: Evaluations of every search.
        default: What a user gets who asks for no other search.
        nasgem: The paper's encoder, predictor and bootstrap.
        others: More searches of ours by name.
        population: Cells that live in regularized evolution, the first of them those that the default search begins with.
        tournament: Cells of them that a parent is the best of.
        seeds: How many are reported.
    """

    title: str
    budget: int
    default: Recipe
    nasgem: Recipe
    others: Mapping[str, Recipe] = field(default_factory=dict)
    population: int = 30
    tournament: int = 10
    seeds: int = 50

    @property
    def methods(self) -> tuple[str, ...]:
        """The searches here, by name."""
        return (*METHODS, *self.others)

    def recipe(self, method: str) -> Recipe:
        """That of a search; evolution and random search have space, images and first cells of the default search."""
        return {NASGEM: self.nasgem, **self.others}.get(method, self.default)


BENCHMARKS: dict[str, Benchmark] = {
    "nasbench101": Benchmark(
        "NAS-Bench-101",
        150,
        Recipe("nasbench101.py"),
        Recipe("nasbench101_nasgem.py"),
        {GRAPHS: Recipe("nasbench101_graphs.py")},
    ),
    "nasbench201": Benchmark(
        "NAS-Bench-201", 150, Recipe("nasbench201.py"), Recipe("nasbench101_nasgem.py", {"space.type": "nasbench201"})
    ),
    "nasbench_macro": Benchmark(
        "NAS-Bench-Macro", 150, Recipe("nasbench_macro.py"), Recipe("nasbench101_nasgem.py", {"space.type": "nasbench_macro"})
    ),
    "digits": Benchmark(
        "digits",
        40,
        Recipe("digits.py"),
        Recipe("digits.py", {"encoder.type": "kernel_guided", "encoder.dim": 50, "predictor.type": "mlp"}),
        {ENSEMBLE: Recipe("digits.py", {"encoder.type": "statistics", "predictor.type": "ensemble"})},
        population=16,
        tournament=5,
        seeds=10,
    ),
}
"""By name; each search trains its cells, or looks them up where the space is that of a table."""


@dataclass(frozen=True)
class Task:
    """A search: where, which, and with which seed."""

    benchmark: str
    method: str
    seed: int
    data: str | None = None

    @property
    def about(self) -> Benchmark:
        """The benchmark."""
        return BENCHMARKS[self.benchmark]

    @property
    def settings(self) -> dict[str, Any]:
        """Of the search, or, of evolution and random search, of what they share with the default one."""
        return _settings(self.benchmark, self.method, self.seed, self.data)

    @property
    def recipe(self) -> str:
        """What names all numbers behind the search but its seed: under other ones it is another search."""
        return _named(self.benchmark, self.method)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """By which the record knows it."""
        return self.benchmark, self.method, self.recipe, self.seed

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.about.title}, {self.method}, seed {self.seed}"


@cache
def _loaded(config: str, options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return load_settings(FOLDER / "search" / config, dict(options))


def _settings(benchmark: str, method: str, seed: int, data: str | None) -> dict[str, Any]:
    about = BENCHMARKS[benchmark]
    recipe = about.recipe(method)
    settings = _loaded(recipe.config, tuple(recipe.options.items()))
    search, space = dict(settings["search"]), dict(settings["space"])
    if method in (EVOLUTION, RANDOM):
        search = {"start": min(search["start"], about.budget), "rounds": 0}
    else:
        search["rounds"] = -(-(about.budget - search["start"]) // search["batch"])
    if data is not None and space["type"] != "dag":
        space["data"] = data
    return {**settings, "seed": seed, "space": space, "search": search, "executor": {"workers": 1, "device": "cpu"}}


@cache
def _named(benchmark: str, method: str) -> str:
    about, settings = BENCHMARKS[benchmark], decisive(_settings(benchmark, method, 0, None))
    more = {"population": about.population, "tournament": about.tournament} if method == EVOLUTION else {}
    if method in (EVOLUTION, RANDOM):  # what the default search learns with is nothing to them
        settings = {name: value for name, value in settings.items() if name not in ("encoder", "predictor")}
    return fingerprint({"settings": settings, "method": method, "budget": about.budget, "version": VERSION, **more})


def tasks(
    benchmarks: Sequence[str], methods: Sequence[str] | None, seeds: int | None, first: int, data: str | None
) -> list[Task]:
    """All searches, seed by seed: what is stopped early is a comparison all the same.

    Args:
        benchmarks: By name.
        methods: By name; None for all of each benchmark.
        seeds: How many; None for each benchmark's own number.
        first: The first seed.
        data: Where the benchmarks' compact files lie; None for where they are looked for by default.

    Raises:
        SearchError: No benchmark here has a search of this name.
    """
    known = dict.fromkeys(name for benchmark in benchmarks for name in BENCHMARKS[benchmark].methods)
    for method in methods or ():
        if method not in known:
            raise SearchError(f"--methods: {method!r}: expected some of {', '.join(map(repr, known))}")
    counts = {benchmark: BENCHMARKS[benchmark].seeds if seeds is None else seeds for benchmark in benchmarks}
    return [
        Task(benchmark, method, first + place, data)
        for place in range(max(counts.values(), default=0))
        for benchmark, count in counts.items()
        if place < count
        for method in reversed(BENCHMARKS[benchmark].methods)
        if methods is None or method in methods
    ]
