"""The command: runs on made tables from the start to the files, resumes, and tells what is wrong."""

import csv
import json
from pathlib import Path

import pytest
from commands import run_tool

from gemnet.core.errors import UserError
from gemnet.core.tables import between
from gemnet.drawing.palette import adaptive_svg
from search.experiments.paper.command import reproduce_command
from search.experiments.paper.output import FOLDER, PAGE, marks, publish_part, published_table
from search.experiments.paper.parts import PARTS
from search.experiments.paper.pictures import picture, read_shown

ROOT = Path(__file__).parents[4]


def reproduce(folder, tmp_path, *names, **options):
    return reproduce_command(names, str(tmp_path / "out"), str(folder), **options)


def test_a_part_leaves_table_csv_and_plot_and_is_not_measured_again(folder, tmp_path, capsys):
    rows = ["adjacency", "NASGEM"]
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, rows=rows) == 0
    told = capsys.readouterr().out
    assert "| **adjacency** | -" in told  # the made test accuracies fall where the validation accuracies grow
    with (tmp_path / "out/nasbench201.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["setting"]) for line in lines] == [(row, n) for row in rows for n in ("78", "156")]
    svg = (tmp_path / "out/nasbench201.svg").read_text()
    assert "</svg>" in svg
    assert adaptive_svg(picture("nasbench201", PARTS["nasbench201"].draw, tmp_path / "out")) == svg
    record = (tmp_path / "out/results.jsonl").read_bytes()
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, rows=rows) == 0
    assert (tmp_path / "out/results.jsonl").read_bytes() == record


def test_what_is_published_is_taken_over_and_only_what_is_missing_measured(folder, tmp_path, capsys):
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, rows=["adjacency"]) == 0
    (tmp_path / FOLDER).mkdir(parents=True)
    content = (tmp_path / "out/nasbench201.csv").read_text()
    (tmp_path / FOLDER / "nasbench201.csv").write_text(content)
    lines = list(csv.DictReader(content.splitlines()))
    (tmp_path / "out/results.jsonl").unlink()
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, rows=["adjacency", "NASGEM"], published=tmp_path) == 0
    found = [json.loads(line)["row"] for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert found == ["NASGEM", "NASGEM"]
    with (tmp_path / "out/nasbench201.csv").open() as file:
        assert list(csv.DictReader(file))[:2] == lines
    capsys.readouterr()
    assert reproduce(folder, tmp_path, "nasbench201", seeds=2, rows=["adjacency"], published=tmp_path, unfinished=True) == 1
    assert "--unfinished: nothing of nasbench201 was measured yet" in capsys.readouterr().err  # under other settings
    assert reproduce(folder, tmp_path, "fig1", quick=True, published=tmp_path) == 1
    assert "fig1.csv is not all that is shown of fig1" in capsys.readouterr().err


def test_what_was_not_measured_yet_is_left_out(folder, tmp_path, capsys):
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, rows=["adjacency"]) == 0
    capsys.readouterr()
    assert reproduce(folder, tmp_path, "nasbench201", quick=True, unfinished=True) == 0
    told = capsys.readouterr().out
    assert "| **adjacency** |" in told
    assert "| **NASGEM** |" not in told


def test_mistakes_are_told_in_one_line(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GEMNET_DATA", raising=False)
    for names, options, message in (
        (["table3"], {}, "cells are conv3x3 alone; 1000 are to be drawn"),
        (["search"], {"rows": ["random search"]}, "150 queries are asked for, but the pool of"),
        (["fig1"], {"rows": ["nobody"]}, "fig1 has none of nobody; its rows: adjacency, MLP autoencoder, NASGEM, SVGe"),
        (["fig1"], {"quick": True, "root": tmp_path}, "--write is for the whole figures"),
        (["fig1"], {"root": tmp_path, "first_seed": 990, "seeds": 11}, "seeds from 1000 on are for choosing settings"),
        (["fig1"], {"jobs": 0}, "--jobs and --seeds must be at least 1"),
    ):
        assert reproduce(folder, tmp_path, *names, **options) == 1
        found = capsys.readouterr().err
        assert found.startswith("reproduce: ")
        assert found.count("\n") == 1
        assert message in found


def test_a_missing_benchmark_is_told_with_the_remedy(tmp_path, capsys):
    assert reproduce(tmp_path, tmp_path, "fig1", quick=True) == 1
    assert "gemnet convert-benchmark nasbench101" in capsys.readouterr().err


def test_what_is_published_is_made_of_the_file_beside_it(result, tmp_path):
    part = PARTS["nasbench101"]
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / PAGE).write_text("\n".join(["# Page", *marks(part.name), "the end"]))
    results = [result(row, 100, seed, kendall=0.1 * seed + 0.3) for seed in (0, 1) for row in ("adjacency", "NASGEM")]
    publish_part(part, results, tmp_path, "python tools/reproduce.py nasbench101")
    page = (tmp_path / PAGE).read_text()
    data = json.loads((tmp_path / FOLDER / "nasbench101.json").read_text())
    assert "| **NASGEM** | 0.350 ± 0.071 |" in page
    assert between(marks(part.name), page, published_table(part, data), PAGE) == page
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [
        "README.md",
        "nasbench101.csv",
        "nasbench101.json",
        "nasbench101.svg",
    ]


def test_what_a_picture_is_made_of_is_read_from_its_files(tmp_path):
    (tmp_path / "a.csv").write_text("row,setting,seed,tau,regret,seconds\nx,10,0,0.5,,1.5\n")
    (tmp_path / "a_points.csv").write_text('what,"x, %",y\npair,0.25,\n')
    shown = read_shown("a", tmp_path)
    assert [(r.unit.row, r.unit.setting, r.unit.seed, r.measured.figures, r.seconds) for r in shown.results] == [
        ("x", 10, 0, {"tau": 0.5}, 1.5)
    ]
    assert list(shown.points) == [{"what": "pair", "x, %": 0.25, "y": None}]


@pytest.mark.parametrize(
    "text",
    [None, "row,setting,seed,seconds\n", "row,setting,seed,tau\nx,10,0,0.5\n", "row,setting,seed,tau,seconds\nx,a,0,1,1"],
)
def test_files_that_no_picture_can_be_made_of_are_told_by_name(tmp_path, text):
    if text is not None:
        (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=r"a\.csv: "):
        read_shown("a", tmp_path)


def test_nothing_is_published_on_a_page_without_marks(result, tmp_path):
    part = PARTS["nasbench101"]
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / PAGE).write_text("# Page")
    with pytest.raises(UserError, match="expected the line"):
        publish_part(part, [result("adjacency", 100, 0, kendall=0.5)], tmp_path, "")
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["README.md"]


def test_the_help_names_all_parts_with_examples():
    told = run_tool("reproduce.py", "--help").stdout
    assert "examples:" in told
    assert all(f"  {name} " in told for name in PARTS)


def test_svge_is_a_command_of_its_own(tmp_path):
    command = ["reproduce.py", "svge", "--space", "enas", "--parts", "measures", "--data", tmp_path]
    told = run_tool(*command, cwd=tmp_path)
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "svge: " in told.stderr
    assert "enas_final_structures6.txt does not exist" in told.stderr
