"""The table of goals: each beside the best figure of others, ours with its spread, and the command that made it."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gemnet.core.tables import markdown_table, marks, renew
from search.experiments.paper import published
from search.experiments.paper.figure5 import FIGURE
from search.experiments.paper.output import FOLDER
from search.experiments.paper.rows import COUNTS, GEMNET, GUIDED
from search.experiments.paper.summary import shown
from search.experiments.paper.tabular_search import ACCURACY

PAGE = "docs/results/README.md"
MARKS = marks("reproduced", "tools/reproduce.py --write")

REACHED, MISSED = "yes", "**no**"
SIDES = {"≤": operator.le, ">": operator.gt, "≥": operator.ge}
COLUMNS = ("what", "goal", "ours", "reached", "published", "others' code here", "seeds", "command")


@dataclass(frozen=True)
class Goal:
    """A figure of `row` in the part's data file, with a goal for some settings.

    what: the label, with {} for the setting. others: figures by label and setting, the goal's line among them. lower: whether
    small figures are good.
    """

    what: str
    part: str
    row: str
    figure: str
    others: Mapping[str, Mapping[int, float]]
    digits: int = 3
    lower: bool = False

    @property
    def goals(self) -> Mapping[int, float]:
        """By setting; they stand among others' figures."""
        return next(figures for label, figures in self.others.items() if "goal" in label)

    @property
    def sign(self) -> str:
        """On which side of the goals figures are to be; one of SIDES."""
        return "≤" if self.lower else ">" if any("above" in label for label in self.others) else "≥"

    def lines(self, data: Mapping) -> list[list[str]]:
        """A line of the table for each setting that has a goal and was measured."""
        ours = {row["setting"]: row for row in data["rows"] if row["row"] == self.row}
        figures = {setting: row["figures"][self.figure] for setting, row in ours.items()}
        return [
            [
                self.what.format(setting),
                f"{self.sign} {goal:.{self.digits}f}",
                f"**{shown(figures[setting], self.digits)}**",
                REACHED if SIDES[self.sign](figures[setting]["mean"], goal) else MISSED,
                self._best(setting, here=False),
                self._best(setting, here=True),
                str(ours[setting]["count"]),
                f"`{data['command'].removeprefix('python ')}`",
            ]
            for setting, goal in self.goals.items()
            if setting in ours
        ]

    def _best(self, setting: int, here: bool) -> str:
        """The best of the others' figures, with its label."""
        known = {
            label: figures[setting]
            for label, figures in self.others.items()
            if setting in figures and "goal" not in label and (published.HERE in label) == here
        }
        if not known:
            return ""
        label = (min if self.lower else max)(known, key=known.__getitem__)
        name = re.split(r", | \(", label)[0]
        return f"{known[label]:.{self.digits}f} {name}"


GOALS = (
    Goal("Kendall's tau, NAS-Bench-101, {} cells", "nasbench101", GEMNET.name, "kendall", published.NASBENCH101),
    Goal("Kendall's tau, NAS-Bench-201, {} cells", "nasbench201", GEMNET.name, "kendall", published.NASBENCH201),
    Goal("Table 3, tau at {} %", "table3", GUIDED.name, "kendall", published.TABLE3),
    Goal("Table 4, Pearson's r at {} %", "table4", GUIDED.name, "pearson", published.TABLE4),
    Goal("Fig. 5, bias in % at {} samples", "fig5", COUNTS.name, FIGURE, published.FIGURE5, 2, lower=True),
    Goal("search, test accuracy in % after {} queries", "search", GEMNET.name, ACCURACY, published.SEARCH, 2),
)


def overview(root: Path) -> str:
    """How many goals are reached, and the table, of the data files in docs/results/paper below `root`.

    A part that was not made yet has no line.
    """
    lines: list[list[str]] = []
    for goal in GOALS:
        path = root / FOLDER / f"{goal.part}.json"
        if path.exists():
            lines += goal.lines(json.loads(path.read_text(encoding="utf-8")))
    reached = sum(line[COLUMNS.index("reached")] == REACHED for line in lines)
    return f"**{reached} of {len(lines)} goals are reached.**\n\n{markdown_table(COLUMNS, lines)}"


def renew_overview(root: Path) -> None:
    """Write what `overview` makes into PAGE. Raises UserError where its marks are missing."""
    renew(root, PAGE, MARKS, overview(root))
