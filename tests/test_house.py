"""What holds for the repository as a whole."""

import ast
import csv
import json
import math
import re
import statistics
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import run_tool
from scipy.stats import kendalltau

import gemnet
from gemnet.bench import benchmark, comparison
from gemnet.core.tables import between
from gemnet.model_table import MODELS
from search.experiments.paper import overview
from search.experiments.paper.output import FOLDER, PAGE, marks, published_table
from search.experiments.paper.parts import PARTS
from search.experiments.svge import pages
from search.experiments.svge.tasks import TASKS
from search.experiments.trial import report as trial_report

ROOT = Path(__file__).parents[1]


def test_the_files_that_are_no_unit_tests_are_there():
    stems = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    conftest = (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    listed = ast.literal_eval(re.search(r"(?ms)^WHOLE = (\[.*?^\])", conftest).group(1))
    assert set(listed) <= stems


def test_readme_has_the_two_commands_that_set_up_and_run():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'pip install -e ".[all]" && python tools/search.py\n' in readme
    command = re.search(r"<!-- test command -->\n```\n(.*)\n```", readme).group(1)
    assert command.startswith('pip install -e ".[test]" && ')
    assert command.endswith("pytest -n auto")


def test_readmes_table_of_models_is_what_the_models_cost():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in MODELS:
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
        architecture = getattr(gemnet, name)().architecture
        cost = gemnet.network_cost(architecture)
        told = [cell.strip() for cell in row.strip("|").split("|")]
        assert told[1:] == [
            f"{cost.params / 1e6:.2f} M",
            f"{cost.macs / 1e6:.0f} M",
            f"{cost.activations / 1e6:.1f} M",
            ", ".join(map(str, architecture.widths)),
            ", ".join(map(str, architecture.depths)),
            str(architecture.head_width),
        ]


def test_readmes_table_of_speed_is_made_from_its_data_file():
    measured = json.loads((ROOT / benchmark.MEASURED).read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(benchmark.MARKS, readme, benchmark.table(measured), "README.md") == readme
    for row in measured["models"]:
        if "gemnet" in row["name"]:
            assert (row["params"], row["macs"]) == benchmark.cost(row["name"])


def test_the_table_of_classifiers_is_made_from_its_data_file():
    rows = json.loads((ROOT / "configs/tiny_imagenet.json").read_text(encoding="utf-8"))
    page = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    assert between(comparison.marks("tiny_imagenet"), page, comparison.table(rows), "configs/README.md") == page
    ours, *peers = rows
    assert all(abs(ours["macs"] / peer["macs"] - 1) <= 0.05 for peer in peers)
    assert len(ours["seeds"]) >= 2
    assert all(row["seeds"] == ours["seeds"] and len(row["top1"]) == len(row["seeds"]) for row in rows)


def search_record(name):
    """Settings and rounds of the search of the shipped cells, then an object an evaluation."""
    return [json.loads(line) for line in (ROOT / f"docs/results/search/{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_record_of_the_shipped_cells_holds_them():
    settings, *evaluations = search_record("nasgem_cifar10")
    for name in ("gemnet_a", "gemnet_b"):
        cell = gemnet.Cell.shipped(name)
        (row,) = [row for row in evaluations if gemnet.Cell(tuple(row["nodes"]), row["edges"]).digest() == cell.digest()]
        assert (row["accuracy"], row["macs"]) == (cell.provenance["accuracy"], cell.provenance["macs"])
        assert settings["settings"]["data"] == cell.provenance["data"]


def test_the_shipped_cells_are_the_best_two_of_the_ten_that_were_trained_again():
    found = {row["digest"]: row for row in search_record("nasgem_cifar10")[1:] if row["state"] == "done" and not row["stopped"]}
    accuracies = {}
    for row in search_record("nasgem_cifar10_retrained"):
        (digest,) = [digest for digest in found if digest.startswith(row["name"].partition(",")[0])]
        accuracies.setdefault(digest, []).append(row["accuracy"])
    assert set(accuracies) == set(sorted(found, key=lambda digest: -found[digest]["score"])[:10])
    assert {len(values) for values in accuracies.values()} == {3}
    mean = {digest: statistics.mean(values) for digest, values in accuracies.items()}
    best = sorted(mean, key=lambda digest: 0.1 * math.log10(found[digest]["cost"]) - mean[digest])
    assert best[:2] == [gemnet.Cell.shipped(name).digest() for name in ("gemnet_a", "gemnet_b")]
    for name in ("gemnet_a", "gemnet_b"):
        cell = gemnet.Cell.shipped(name)
        assert cell.provenance["retrained"]["accuracies"] == accuracies[cell.digest()]
    told = [f"{mean[d]:.3f} ± {statistics.stdev(accuracies[d]):.3f}"[1:].replace("± 0", "± ") for d in (*best[:2], best[8])]
    assert told == [".602 ± .002", ".580 ± .012", ".567 ± .011"]  # as README has it
    tau = kendalltau([found[d]["accuracy"] for d in best], [mean[d] for d in best]).statistic
    assert round(tau, 2) == 0.04


def test_the_second_record_takes_over_the_first_and_has_no_better_cell():
    first, second = search_record("nasgem_cifar10"), search_record("nasgem_cifar10_continued")
    for part in ("data", "proxy", "model", "cost", "space"):
        assert first[0]["settings"][part] == second[0]["settings"][part]
    measured = {row["digest"]: (row["accuracy"], row["score"], row["seconds"]) for row in first[1:] if not row["stopped"]}
    assert {r["digest"]: (r["accuracy"], r["score"], r["seconds"]) for r in second[1:] if r["round"] == 0} == measured
    best = max(second[1:], key=lambda row: row["score"])
    assert gemnet.Cell(tuple(best["nodes"]), best["edges"]).digest() == gemnet.Cell.shipped("gemnet_a").digest()
    whole = [r["curve"] for r in second[1:] if not r["stopped"]]
    stopped = [r["curve"] for r in second[1:] if r["stopped"]]
    expected = [c[-1] + statistics.mean([w[-1] - w[len(c) - 1] for w in whole]) for c in stopped]
    assert (len(stopped), round(max(expected), 3)) == (100, 0.475)  # as README has it


def test_the_trials_table_is_made_from_its_data_file():
    page = (ROOT / trial_report.PAGE).read_text(encoding="utf-8")
    table = trial_report.table(json.loads((ROOT / trial_report.DATA).read_text(encoding="utf-8")))
    assert between(trial_report.MARKS, page, table, trial_report.PAGE) == page


def test_the_trials_record_has_the_accuracies_of_its_table():
    found = json.loads((ROOT / trial_report.DATA).read_text())
    rows = [json.loads(line) for line in (ROOT / trial_report.RECORD).read_text().splitlines()]
    told = {row["name"]: row["accuracy"] for row in rows}
    assert len(told) == len(rows)
    for network in found["networks"]:
        assert network["accuracies"] == [told[f"{network['name']}, seed {seed}"] for seed in found["trial"]["seeds"]]
        assert network["proxy"] == told.get(network["name"])
    assert len([name for name in told if name.startswith("candidate") and "seed" not in name]) == found["trial"]["candidates"]


def test_readme_has_the_trials_figures():
    found = json.loads((ROOT / trial_report.DATA).read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for n in found["networks"]:
        if n["kind"] != "random":
            mean, deviation = 100 * statistics.mean(n["accuracies"]), 100 * statistics.stdev(n["accuracies"])
            assert f"{mean:.2f} ± {deviation:.2f}" in readme, n["name"]
    mean, deviation = trial_report.random_cells(found["networks"])
    assert f"{100 * mean:.2f} on average, deviation {100 * deviation:.2f}" in readme
    told = trial_report.correlation(found["networks"])
    assert f"Kendall's tau {told['kendall']:.2f}, Spearman's rho {told['spearman']:.2f}".replace("0.", ".") in readme


@pytest.mark.parametrize("space", TASKS)
def test_the_page_of_svge_is_made_from_its_data_files(space):
    page, path = (ROOT / pages.PAGE).read_text(encoding="utf-8"), ROOT / pages.FOLDER / f"{space}.json"
    section = pages.page_section(json.loads(path.read_text(encoding="utf-8")), space) if path.exists() else "Not made yet."
    assert between(pages.marks(space), page, section, pages.PAGE) == page


def test_readmes_table_of_svge_is_made_from_its_data_files():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(pages.README_MARKS, readme, pages.overview(ROOT), "README.md") == readme


def test_readmes_table_of_goals_is_made_from_the_data_files():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(overview.MARKS, readme, overview.overview(ROOT), "README.md") == readme


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_the_page_of_reproduced_figures_is_made_from_its_data_files(part):
    page, path = (ROOT / PAGE).read_text(encoding="utf-8"), ROOT / FOLDER / f"{part.name}.json"
    if not path.exists():
        assert between(marks(part.name), page, "Not made yet.", PAGE) == page
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    assert between(marks(part.name), page, published_table(part, data), PAGE) == page
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
