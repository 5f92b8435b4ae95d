"""What every tool has in common: help that is there at once, shows examples, and tells what holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemnet.errors import UserError
from gemnet.export import FORMATS, TOLERANCE
from gemnet.options import named
from gemnet.quantization import CALIBRATION_IMAGES
from gemnet.weights import FORMS
from search.reproduce_svge import MODELS, PARTS
from search.svge.tasks import TASKS

ROOT = Path(__file__).parents[1]
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
HEAVY = ("gemnet", "search", "torch", "mmengine", "numpy")
HELP = """
import json, runpy, sys
path, *heavy = sys.argv[1:]
sys.argv = [path, "--help"]
try:
    runpy.run_path(path, run_name="__main__")
except SystemExit as end:
    print(json.dumps([end.code, [name for name in heavy if name in sys.modules]]))
"""


def help_of(name):
    """What `--help` prints, its exit code, and which of HEAVY it imported."""
    command = [sys.executable, "-c", HELP, str(ROOT / "tools" / name), *HEAVY]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return " ".join(" ".join(lines[:-1]).split()), *json.loads(lines[-1])


@pytest.mark.parametrize("name", [name for name in TOOLS if name != "reproduce.py"])  # its help is made from its parts
def test_help_has_examples_and_is_there_before_anything_heavy_is_imported(name):
    text, code, imported = help_of(name)
    assert (code, imported) == (0, [])
    assert f"python tools/{name}" in text.partition("examples:")[2]


def test_help_tells_the_choices_and_defaults_that_hold():
    for name, told in {
        "export.py": [
            ", ".join(FORMATS),
            f"default: {TOLERANCE}",
            f"default: {CALIBRATION_IMAGES}",
            *(end for end, _ in FORMATS.values()),
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
