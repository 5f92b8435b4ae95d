"""What every tool has in common: help that is there at once, shows examples, and tells what holds."""

import argparse
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gemnet.bench import startup
from gemnet.cell import Cell
from gemnet.cli.commands import COMMANDS
from gemnet.core.errors import UserError
from gemnet.core.options import named
from gemnet.deploy.export import TOLERANCE
from gemnet.deploy.int8.images import CALIBRATION_IMAGES
from gemnet.deploy.runtimes.table import RUNTIMES
from gemnet.weights import FORMS
from search.configuration.sections import decisive
from search.configuration.settings import load_settings
from search.core.efficiency import efficiency_score
from search.core.types import Evaluation, Outcome
from search.experiments.paper.parts import PARTS as REPRODUCED
from search.experiments.svge.run import MODELS, PARTS
from search.experiments.svge.tasks import TASKS
from search.record.study import Proposal, Study

ROOT = Path(__file__).parents[1]
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
SCRIPTS = sorted(path.name for path in (ROOT / "tools").glob("*.sh"))
HEAVY = ("search", "torch", "timm", "mmengine", "numpy")
OF_TOOLS = {f"{command.tool}.py": command for command in COMMANDS.values() if command.tool}
TORCH = ("torch", "torch._dynamo", "torchvision", "timm", "mmengine", "mmcv", "mmdet", "numba", "sklearn")
UNNEEDED = (*TORCH, "scipy", "matplotlib")
ACTIONS = ("status", "top", "export", "report", "retrain", "settings")
WHOLE = ("benchmark.py", "evaluate_cells.py", "overfit.py", "search.py")
"""Tools that need no argument."""
RECORD = "docs/results/search/nasgem_cifar10.jsonl"
RUN = """
import json, runpy, sys
heavy, sys.argv = json.loads(sys.argv[1]), sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code, [name for name in heavy if name in sys.modules]]))
"""


def ran(name, *arguments, heavy=HEAVY):
    """What a tool prints, its exit code, and which of `heavy` it imported."""
    command = [sys.executable, "-c", RUN, json.dumps(heavy), str(ROOT / "tools" / name), *map(str, arguments)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    return " ".join(" ".join(lines[:-1]).split()), *json.loads(lines[-1])


def help_of(name, *action):
    return ran(name, *action, "--help")


@pytest.mark.parametrize("command", [(name,) for name in TOOLS] + [("search.py", action) for action in ACTIONS], ids=" ".join)
def test_help_has_examples_and_is_there_before_anything_heavy_is_imported(command):
    text, code, imported = help_of(*command)
    of_search = OF_TOOLS[command[0]].module.startswith("search.")
    assert (code, imported) == (0, ["search"] * of_search)
    assert f"python tools/{' '.join(command)}" in text.partition("examples:")[2]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("given", [["--help"], ["-h"], []], ids=["--help", "-h", "nothing"])
def test_scripts_tell_their_usage(name, given):
    result = subprocess.run(["bash", str(ROOT / "tools" / name), *given], capture_output=True, text=True)
    assert result.returncode == (0 if given else 2)
    assert result.stderr == ""
    if name != "dist.sh":  # which the others call
        assert f"tools/{name} " in result.stdout.partition("examples:")[2]


@pytest.mark.parametrize("name", [name for name in TOOLS if name not in WHOLE])
def test_a_tool_that_needs_something_tells_its_usage_in_one_screen(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))  # a tool puts the root first
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert told.startswith(f"usage: {name}")
    assert len(told.splitlines()) <= 24


def test_every_argument_of_every_tool_says_what_it_is(monkeypatch):
    silent = []
    add = argparse._ActionsContainer.add_argument

    def noted(self, *names, **settings):
        if "help" not in settings:
            silent.append((sys.argv[0], names))
        return add(self, *names, **settings)

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", noted)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for command in [*((name,) for name in TOOLS), ("search.py", "status")]:
        monkeypatch.setattr(sys, "argv", [*command, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "tools" / command[0]), run_name="__main__")
    assert not silent


@pytest.fixture
def work_dir(tmp_path):
    """That of a search of one cell, evaluated."""
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    settings = decisive(load_settings(ROOT / "configs/search/digits.py"))
    with Study(tmp_path, settings, {}) as study:
        study.propose(0, [Proposal(cell, cell.digest(), 1, 1000, 10, 0.5, None)], {})
        study.finish(Outcome(1, Evaluation(0.5, (0.5,), False, 1.0)), efficiency_score(0.5, 0.5, settings["penalty"]))
    return tmp_path


@pytest.mark.parametrize("action", ["status", "top", "export"])
def test_a_record_is_looked_at_without_torch_and_other_heavy_libraries(work_dir, action):
    text, code, imported = ran("search.py", action, work_dir, heavy=UNNEEDED)
    assert (code, imported) == (0, [])
    assert {"status": "best cell", "top": "Best of", "export": "1 evaluations"}[action] in text


@pytest.mark.long
def test_a_report_of_an_exported_record_needs_no_torch(tmp_path):
    _, code, imported = ran("search.py", "report", ROOT / RECORD, "--out", tmp_path, heavy=TORCH)
    assert (code, imported) == (0, [])
    assert (tmp_path / "report.html").exists()


def test_an_action_refuses_what_is_for_another_one():
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/search.py"), "status", RECORD, "--count", "3"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "unrecognized arguments: --count 3" in result.stderr


def test_startup_times_every_tool_and_script_beside_the_import_of_torch(monkeypatch):
    monkeypatch.setattr(startup, "cpu_seconds", lambda command: 2.0 if command[-1] == startup.REFERENCE else 0.5)
    lines = startup.table(startup.measure_startup(ROOT, 1)).splitlines()
    assert lines[1].split() == ["import", "torch", "2.00", "s", "1.00"]
    told = [line.split("  ")[0] for line in lines]
    assert {f"{name} --help" for name in (*TOOLS, *SCRIPTS)} <= set(told)
    assert {f"search.py {action} --help" for action in ACTIONS} | {"search.py status RECORD"} <= set(told)
    assert all(line.split()[-3:] == ["0.50", "s", "0.25"] for line in lines[2:])


def test_cpu_seconds_are_those_of_the_command_and_its_failure_is_told():
    busy = "import time; all(time.process_time() < 0.3 for _ in iter(int, 1))"
    assert 0.3 <= startup.cpu_seconds([sys.executable, "-S", "-c", busy]) < 2
    assert startup.cpu_seconds([sys.executable, "-S", "-c", "import time; time.sleep(0.5)"]) < 0.3
    with pytest.raises(UserError, match="ended with 3: told"):
        startup.cpu_seconds([sys.executable, "-S", "-c", "import sys; sys.stderr.write('told'); sys.exit(3)"])


def test_help_tells_the_choices_and_defaults_that_hold():
    parts = [f"{p.name} {p.about} ({p.seeds} seed{'s' * (p.seeds > 1)})" for p in REPRODUCED.values()]
    for name, told in {
        "reproduce.py": [*parts, ", ".join(REPRODUCED)],
        "export.py": [
            ", ".join(RUNTIMES),
            f"default: {TOLERANCE}",
            f"default: {CALIBRATION_IMAGES}",
            *(entry.ending for entry in RUNTIMES.values()),
        ],
        "convert_checkpoint.py": [",".join(FORMS)],
        "svge.py": [*TASKS, *PARTS, *MODELS],
    }.items():
        text, _, _ = help_of(name)
        assert not [what for what in told if what not in text]


def test_pairs_of_a_command_line_are_settings_by_name():
    pairs = ["a.b=3", "c=[1,2.5]", "d=x=y", "e=", "f=(1,(2,3))", "g=None", "h=True"]
    assert named(pairs) == {"a.b": 3, "c": [1, 2.5], "d": "x=y", "e": "", "f": (1, (2, 3)), "g": None, "h": True}
    assert named({"a": 1}) == {"a": 1}
    assert named(None) == named([]) == {}
    for broken in ("a=[1,2", "a=dict(type=1,b='x')"):
        with pytest.raises(UserError, match=r"--cfg-options: a=.*: expected a number"):
            named(["c=3", broken])
    with pytest.raises(UserError, match="--recipe: b =3: expected KEY=VALUE"):
        named(["a=1", "b", "=3"], "--recipe")


NUMBERS = [
    ("benchmark.py", ["kernel", "--pairs"], "a whole number from 1"),
    ("compare.py", ["CONFIG", "--jobs"], "a whole number from 1"),
    ("compare.py", ["CONFIG", "--seeds"], "a whole number from 0"),
    ("complexity.py", ["CONFIG", "--shape", "640"], "a whole number from 1"),
    ("evaluate_cells.py", ["--macs"], "a number above 0"),
    ("evaluate_cells.py", ["--epochs"], "a whole number from 1"),
    ("export.py", ["gemnet_a", "a.onnx", "--target-macs"], "a number above 0"),
    ("export.py", ["gemnet_a", "a.onnx", "--tolerance"], "a number from 0"),
    ("overfit.py", ["--iterations"], "a whole number from 1"),
    ("predict.py", ["CONFIG", "a.pth", "photos", "--score"], "a number from 0 to 1"),
    ("reproduce.py", ["table3", "--seeds"], "a whole number from 1"),
    ("search.py", ["top", "work_dirs/digits", "--count"], "a whole number from 1"),
    ("search.py", ["retrain", "work_dirs/digits", "--seeds"], "a whole number from 1"),
    ("svge.py", ["--space", "enas", "--threads"], "a whole number from 1"),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), NUMBERS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e999", "many"])
def test_a_number_out_of_range_is_told_with_the_argument(name, arguments, expected, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, *arguments, value])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
    flag = next(argument for argument in reversed(arguments) if argument.startswith("--"))
    assert ended.value.code == 2
    assert f"argument {flag}: expected {expected}, found '{value}'" in capsys.readouterr().err


def test_every_tool_is_a_command_and_holds_nothing_else():
    assert sorted(OF_TOOLS) == TOOLS
    assert all(len((ROOT / "tools" / name).read_text().splitlines()) <= 12 for name in TOOLS)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_numbers_that_are_not_checked(name):
    source = (ROOT / COMMANDS[name].module.replace(".", "/")).with_suffix(".py").read_text()
    assert "add_argument(" in source
    assert not re.findall(r"type=(int|float)\b", source)
