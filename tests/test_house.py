"""What holds for the repository as a whole."""

import ast
import csv
import re
import statistics
from importlib.util import find_spec

import pytest
from commands import run_tool
from quoting import ROOT, read

from gemnet.bench import benchmark, comparison
from gemnet.core.tables import between
from search.experiments.paper import overview
from search.experiments.paper.output import FOLDER, PAGE, marks, published_table
from search.experiments.paper.parts import PARTS
from search.experiments.svge import pages
from search.experiments.svge.tasks import TASKS
from search.experiments.trial import report as trial_report


def test_the_files_that_are_no_unit_tests_are_there():
    stems = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    conftest = (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    listed = ast.literal_eval(re.search(r"(?ms)^WHOLE = (\[.*?^\])", conftest).group(1))
    assert set(listed) <= stems


def assert_made(page, around, section):
    """The page, a path below the repository, has this section between these marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert between(around, text, section, page) == text


def test_the_table_of_speed_is_made_from_its_data_file():
    measured = read(benchmark.MEASURED)
    assert_made(benchmark.PAGE, benchmark.MARKS, benchmark.table(measured))
    for row in measured["models"]:
        if "gemnet" in row["name"]:
            assert (row["params"], row["macs"]) == benchmark.cost(row["name"])


def test_the_table_of_classifiers_is_made_from_its_data_file():
    rows = read("configs/tiny_imagenet.json")
    assert_made(comparison.PAGE, comparison.marks("tiny_imagenet"), comparison.table(rows))
    ours, *peers = rows
    assert all(abs(ours["macs"] / peer["macs"] - 1) <= 0.05 for peer in peers)
    assert len(ours["seeds"]) >= 2
    assert all(row["seeds"] == ours["seeds"] and len(row["top1"]) == len(row["seeds"]) for row in rows)


def test_the_trials_table_is_made_from_its_data_file():
    assert_made(trial_report.PAGE, trial_report.MARKS, trial_report.table(read(trial_report.DATA)))


def test_the_trials_record_has_the_accuracies_of_its_table():
    found, rows = read(trial_report.DATA), read(trial_report.RECORD)
    told = {row["name"]: row["accuracy"] for row in rows}
    assert len(told) == len(rows)
    for network in found["networks"]:
        assert network["accuracies"] == [told[f"{network['name']}, seed {seed}"] for seed in found["trial"]["seeds"]]
        assert network["proxy"] == told.get(network["name"])
    assert len([name for name in told if name.startswith("candidate") and "seed" not in name]) == found["trial"]["candidates"]


@pytest.mark.parametrize("space", TASKS)
def test_the_page_of_svge_is_made_from_its_data_files(space):
    path = f"{pages.FOLDER}/{space}.json"
    section = pages.page_section(read(path), space) if (ROOT / path).exists() else "Not made yet."
    assert_made(pages.PAGE, pages.marks(space), section)


def test_the_overview_of_svge_is_made_from_its_data_files():
    assert_made(pages.PAGE, pages.OVERVIEW_MARKS, pages.overview(ROOT))


def test_the_table_of_goals_is_made_from_the_data_files():
    assert_made(overview.PAGE, overview.MARKS, overview.overview(ROOT))


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_the_page_of_reproduced_figures_is_made_from_its_data_files(part):
    path = ROOT / FOLDER / f"{part.name}.json"
    if not path.exists():
        assert_made(PAGE, marks(part.name), "Not made yet.")
        return
    data = read(f"{FOLDER}/{part.name}.json")
    assert_made(PAGE, marks(part.name), published_table(part, data))
    with path.with_suffix(".csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for row in data["rows"]:
        seeds = [line for line in lines if (line["row"], line["setting"]) == (row["row"], str(row["setting"]))]
        assert len(seeds) == row["count"]
        for name, spread in row["figures"].items():
            assert statistics.fmean(float(line[name]) for line in seeds) == pytest.approx(spread["mean"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(
            ["kernel", "--pairs", "2000", "--grakel-pairs", "20"],
            r"(?s)as the search: ([\d,.]+)/s .* as grakel: ([\d,.]+)/s .* one fit a pair: ([\d,.]+)/s .*"
            r"largest difference of the values (?:\d\.\de-(?:1[3-9]|[2-9]\d)|0\.0e\+00)\n",
            marks=pytest.mark.skipif(find_spec("grakel") is None, reason="grakel has no wheel for this Python"),
        ),
        (
            ["fusion", "--models", "shape/four leaves: conv1x1", "--repeats", "1", "--resolution", "64"],
            r"\| shape/four leaves: conv1x1 \| 16 \| ([\d.]+) ms \| ([\d.]+) ms \| ([\d.]+) \|",
        ),
        (["bootstrap", "--cells", "5000"], r"Bootstrap, 5000 cells of 30 nodes: ([\d,.]+)/s"),
        (
            ["models", "--models", "timm/resnet10t", "--repeats", "1", "--settings", "batch 16, fp32", "batch 1, fp32"],
            r"timm/resnet10t \| (5\.44) \| (1097) \| ([\d,.]+)/s \| ([\d.]+) ms",
        ),
    ],
)
def test_the_benchmark_prints_a_rate(arguments, line):
    result = run_tool("benchmark.py", *arguments)
    assert result.returncode == 0, result.stderr
    told = re.search(line, result.stdout)
    assert told, result.stdout
    assert all(float(figure.replace(",", "")) > 0 for figure in told.groups())
