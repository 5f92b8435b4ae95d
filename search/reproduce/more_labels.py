"""The goals that are not reached, with many more labels than they allow: what keeps predictors from them.

Each figure is measured as in its own part, but for the number of cells whose validation accuracies are known. Where many times
the labels, or all that there are, do not reach a goal either, it is not labels that are missing: mean test accuracies are noisy
themselves, and of trainings on other images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from search.reproduce import figure5, published, ranking
from search.reproduce.base import Context, Measured, Part, Result, Unit
from search.reproduce.plots import COLOURS
from search.reproduce.rows import COUNTS, GEMNET, GEMNET_201
from search.reproduce.summary import markdown, rows_of, seeds_text, shown, summarized

FEW = 2
"""Seeds of what takes minutes each, and differs little between them."""


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


def _recipes(recipe: Callable[[bool], Mapping[str, Any]], **more: Any) -> Mapping[bool, Mapping[str, Any]]:
    return {quick: {**recipe(quick), **more} for quick in (False, True)}


QUESTIONS = {
    "Kendall's tau, NAS-Bench-101": Question(
        "kendall",
        (4236, 10_000),
        published.goals(published.NASBENCH101),
        ">",
        ranking.measure,
        _recipes(GEMNET.recipe, space="nasbench101"),
    ),
    "Kendall's tau, NAS-Bench-201": Question(
        "kendall",
        (1563, 15_625),
        published.goals(published.NASBENCH201),
        ">",
        ranking.measure,
        _recipes(GEMNET_201.recipe, space="nasbench201"),
    ),
    "Fig. 5, bias in %": Question(
        figure5.FIGURE,
        (2000, 10_000),
        published.goals(published.FIGURE5),
        "≤",
        figure5.measure,
        _recipes(COUNTS.recipe, draws=figure5.DRAWS),
        digits=2,
        few=False,
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
    """A panel for each question, with its goal as a line."""
    canvas.set_size_inches(9, 3.4)
    summary = summarized(results)
    names = rows_of(summary)
    for axes, colour, name in zip(canvas.subplots(1, len(names), squeeze=False)[0], COLOURS, names):
        question = QUESTIONS[name]
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
