"""The table of goals, of made data files."""

import json

import pytest

from gemnet.core.errors import UserError
from search.experiments.paper import overview
from search.experiments.paper.rows import COUNTS, GEMNET


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs/results/paper").mkdir(parents=True)
    (tmp_path / overview.PAGE).write_text("before\n{}\nold\n{}\nafter\n".format(*overview.MARKS), encoding="utf-8")
    return tmp_path


def write(root, part, row, settings, figure, command):
    rows = [
        {"row": name, "setting": setting, "count": 10, "figures": {figure: {"mean": mean, "deviation": 0.01}}}
        for name, mean in ((row, 0.75), ("adjacency", 0.1))
        for setting in settings
    ]
    (root / f"docs/results/paper/{part}.json").write_text(json.dumps({"command": command, "rows": rows}), encoding="utf-8")


def test_each_goal_stands_beside_the_best_of_others_and_ours(root):
    write(root, "nasbench101", GEMNET.name, (100, 424, 999), "kendall", "python tools/reproduce.py nasbench101")
    write(root, "fig5", COUNTS.name, (200, 500), "bias, %", "python tools/reproduce.py fig5")
    overview.renew_overview(root)
    before, *_, after = text = (root / overview.PAGE).read_text(encoding="utf-8").splitlines()
    assert (before, after) == ("before", "after")
    assert "old" not in text
    assert "**1 of 3 goals are reached.**" in text
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text if line.startswith("| ")][1:]
    command = "`tools/reproduce.py nasbench101`"
    assert found == [
        [
            "Kendall's tau, NAS-Bench-101, 100 cells", "> 0.720", "**0.750 ± 0.010**", "yes", "0.717 PINAT + ranking loss",
            "0.702 XGBoost on path and degree counts on these cells", "10", command,
        ],
        [
            "Kendall's tau, NAS-Bench-101, 424 cells", "> 0.820", "**0.750 ± 0.010**", "**no**", "0.812 PINAT + ranking loss",
            "0.787 PINAT + pairwise loss", "10", command,
        ],
        ["Fig. 5, bias in % at 200 samples", "≤ 0.50", "**0.75 ± 0.01**", "**no**", "", "", "10", "`tools/reproduce.py fig5`"],
    ]  # fmt: skip


def test_a_page_without_the_marks_is_left_alone(root):
    (root / overview.PAGE).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"docs/results/README\.md: expected the line"):
        overview.renew_overview(root)
    assert (root / overview.PAGE).read_text(encoding="utf-8") == "mine"
