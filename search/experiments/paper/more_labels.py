"""The goals that predictors do not reach, with more labels than these allow: how much would they bring?

Each figure is measured as in its own part, and once more with more cells whose validation accuracies are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from matplotlib.figure import Figure

from search.experiments.paper.base import Context, Measured, Part, Result, Unit
from search.experiments.paper.figure5 import FIGURE5
from search.experiments.paper.overview import GOALS, Goal
from search.experiments.paper.plots import COLOURS
from search.experiments.paper.ranking import NASBENCH101, NASBENCH201
from search.experiments.paper.summary import markdown, shown, summarized


@dataclass(frozen=True)
class Question:
    """What the figure of README's goal for `part` is with `more` labels than the most that the part has.

    digits: that are told. few: seeds, where a unit takes minutes.
    """

    part: Part
    more: int
    digits: int
    few: int | None = None

    @cached_property
    def aim(self) -> Goal:
        """README's."""
        return next(goal for goal in GOALS if goal.part == self.part.name)

    def units(self, seed: int, quick: bool) -> list[Unit]:
        """The part's own unit with the most labels, and the one with more."""
        own = max((unit for unit in self.part.units([seed], quick) if unit.row == self.aim.row), key=lambda unit: unit.setting)
        return [own, replace(own, setting=2 * own.setting if quick else self.more)]

    def goal(self, labels: int) -> tuple[int, float]:
        """The goal that allows the most labels, but no more than these, and how many it allows."""
        allowed = max(n for n in self.aim.goals if n <= labels)
        return allowed, self.aim.goals[allowed]


QUESTIONS = {
    "Kendall's tau, NAS-Bench-101": Question(NASBENCH101, 10_000, digits=4, few=2),
    "Kendall's tau, NAS-Bench-201": Question(NASBENCH201, 15_625, digits=4, few=2),
    "Fig. 5, bias in %": Question(FIGURE5, 10_000, digits=2),
}
PARTS = {question.part.name: question.part for question in QUESTIONS.values()}
NAMES = {(u.row, u.setting): name for name, q in QUESTIONS.items() for quick in (False, True) for u in q.units(0, quick)}
"""Which question a row and setting of a summary belong to."""


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    return [
        unit
        for index, seed in enumerate(seeds)
        for question in QUESTIONS.values()
        for unit in question.units(seed, quick)
        if question.few is None or index < question.few
    ]


def measure(unit: Unit, context: Context) -> Measured:
    return PARTS[unit.group].measure(unit, context)


def table(summary: Mapping[str, Any]) -> str:
    lines = [["figure", "labels", "ours", "goal", "labels that it allows", "seeds"]]
    for name, rows in _by_question(summary).items():
        question = QUESTIONS[name]
        for row in rows:
            allowed, goal = question.goal(row["setting"])
            ours = f"**{shown(row['figures'][question.aim.figure], question.digits)}**"
            aim = f"{question.aim.sign} {goal:g}", f"{allowed:,}"
            lines.append([f"{name}: {row['row']}", f"{row['setting']:,}", ours, *aim, str(row["count"])])
    return f"{markdown(lines)}\n\nSeeds from {summary['seeds'][0]} on; mean ± standard deviation over them."


def _by_question(summary: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The summary's rows, those of a question together."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in summary["rows"]:
        found.setdefault(NAMES[row["row"], row["setting"]], []).append(row)
    return found


def draw(canvas: Figure, results: Sequence[Result]) -> None:
    """A panel for each question, with its goal as a line."""
    canvas.set_size_inches(9, 3.4)
    asked = _by_question(summarized(results))
    for axes, colour, (name, rows) in zip(canvas.subplots(1, len(asked), squeeze=False)[0], COLOURS, asked.items()):
        question = QUESTIONS[name]
        found = {row["setting"]: row["figures"][question.aim.figure] for row in rows}
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


ABOUT = "goals that are not reached, with more labels than they allow"
MORE_LABELS = Part("more_labels", ABOUT, 20, units, measure, table, draw)
