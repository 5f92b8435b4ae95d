"""The goals that are not reached, with many more labels than they allow: what keeps predictors from them.

Each figure is measured as in its own part, but for the number of cells whose validation accuracies are known. Where many times
the labels, or all that there are, do not reach a goal either, it is not labels that are missing: mean test accuracies are noisy
themselves, and of trainings on other images. The last step of a search is given the whole pool's validation accuracies:
predictors that know one half tell what the other is worth, and of that and the accuracies the choice is made as in a search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from search.predictor import cross_validated_predictions, with_groups
from search.ranking import judged
from search.reproduce import figure5, published, ranking, tabular_search
from search.reproduce.base import Context, Measured, Part, Result, Unit
from search.reproduce.cells import benchmark_space, trained_encoder, training_rows
from search.reproduce.plots import COLOURS
from search.reproduce.rows import COUNTS, GEMNET, GEMNET_201, searches
from search.reproduce.summary import markdown, seeds_text, shown, summarized
from search.space import prune

POOL = 20_001
"""Cells of NAS-Bench-101 with validation accuracy."""
FEW = 2
"""Seeds of what takes minutes each, and differs little between them."""


def choice(unit: Unit, context: Context) -> Measured:
    """The test accuracy of the cell that a search would choose if it had asked for `unit.setting` cells drawn at random."""
    settings = unit.recipe["settings"]
    space = benchmark_space("nasbench101", context, "evaluated")
    encoder = trained_encoder(settings["encoder"], space, unit.seed, context)
    rows = training_rows(space, unit.setting, unit.seed)
    vectors, scores = encoder.embed(prune(space.table.cells[rows])), space.table.validation_accuracy[rows]
    told = cross_validated_predictions(with_groups(settings["predictor"], encoder), vectors, scores, unit.seed, folds=2)
    chosen = rows[int(np.argmax(judged(scores, told, settings["search"]["trust"])))]
    return Measured({tabular_search.ACCURACY: 100 * float(space.table.test_accuracy()[chosen])})


@dataclass(frozen=True)
class Question:
    """figure: one that `measure` gives. labels: how many. goals: by the number of labels that they allow; on the side `sign` of
    them figures are to be. recipe: of units, by whether they are quick. few: whether FEW seeds are enough."""

    figure: str
    labels: Sequence[int]
    goals: Mapping[int, float]
    sign: str
    measure: Callable[[Unit, Context], Measured]
    recipe: Mapping[bool, Mapping[str, Any]]
    digits: int = 3
    few: bool = True

    def goal(self, labels: int) -> tuple[int, float]:
        """The goal that allows the most labels, but no more than these, and how many it allows."""
        allowed = max(n for n in self.goals if n <= labels)
        return allowed, self.goals[allowed]


def _goals(others: Mapping[str, Mapping[int, float]]) -> Mapping[int, float]:
    return next(figures for label, figures in others.items() if "goal" in label)


def _recipes(recipe: Callable[[bool], Mapping[str, Any]], **more: Any) -> Mapping[bool, Mapping[str, Any]]:
    return {quick: {**recipe(quick), **more} for quick in (False, True)}


QUESTIONS = {
    "Kendall's tau, NAS-Bench-101": Question(
        "kendall",
        (4236, 10_000),
        _goals(published.NASBENCH101),
        ">",
        ranking.measure,
        _recipes(GEMNET.recipe, space="nasbench101"),
    ),
    "Kendall's tau, NAS-Bench-201": Question(
        "kendall",
        (1563, 15_625),
        _goals(published.NASBENCH201),
        ">",
        ranking.measure,
        _recipes(GEMNET_201.recipe, space="nasbench201"),
    ),
    "Fig. 5, bias in %": Question(
        figure5.FIGURE,
        (2000, 10_000),
        _goals(published.FIGURE5),
        "≤",
        figure5.measure,
        _recipes(COUNTS.recipe, draws=figure5.DRAWS),
        digits=2,
        few=False,
    ),
    "search, test accuracy in %": Question(
        tabular_search.ACCURACY,
        (2000, POOL),
        _goals(published.SEARCH),
        "≥",
        choice,
        _recipes(lambda quick: tabular_search.with_settings(searches(quick)[COUNTS.name])),
        digits=2,
    ),
}


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    return [
        Unit("more_labels", name, labels, seed, question.recipe[quick])
        for index, seed in enumerate(seeds)
        for name, question in QUESTIONS.items()
        for labels in (question.labels[:1] if quick else question.labels)
        if index < FEW or not question.few
    ]


def measure(unit: Unit, context: Context) -> Measured:
    return QUESTIONS[unit.row].measure(unit, context)


def table(summary: Mapping[str, Any]) -> str:
    lines = [["figure", "labels", "ours", "goal", "labels that it allows", "seeds"]]
    for row in summary["rows"]:
        question = QUESTIONS[row["row"]]
        allowed, goal = question.goal(row["setting"])
        ours = f"**{shown(row['figures'][question.figure], question.digits)}**"
        aim = f"{question.sign} {goal:.{question.digits}f}"
        lines.append([row["row"], f"{row['setting']:,}", ours, aim, f"{allowed:,}", str(row["count"])])
    return f"{markdown(lines)}\n\n{seeds_text(summary)}"


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """A panel for each question, with the goals as crosses where they are allowed so many labels, or as a line."""
    canvas.set_size_inches(11, 3.4)
    summary = summarized(results)
    for axes, colour, (name, question) in zip(canvas.subplots(1, len(QUESTIONS)), COLOURS, QUESTIONS.items()):
        found = {row["setting"]: row["figures"][question.figure] for row in summary["rows"] if row["row"] == name}
        means, deviations = [value["mean"] for value in found.values()], [value["deviation"] or 0.0 for value in found.values()]
        axes.errorbar(list(found), means, deviations, fmt="o-", color=colour, markersize=4, capsize=3)
        axes.axhline(question.goal(max(found))[1], linestyle="--", color="black", linewidth=1, label="goal")
        axes.set_xscale("log")
        axes.set_xticks(list(found), [f"{labels:,}" for labels in found])
        axes.minorticks_off()
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("known validation accuracies", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)


MORE_LABELS = Part(
    "more_labels",
    "the goals that are not reached, with more labels than they allow",
    10,
    units,
    measure,
    table,
    draw,
)
