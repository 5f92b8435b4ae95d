"""Lines that are printed to be used work where the user stands, whatever is in their paths."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from made import WHOLE, MadeEvaluator, run

from gemnet.cli.running import reported
from gemnet.complexity import fit
from search.cli.command import search_command
from search.core.display import Display
from search.core.printed import shell_line
from search.core.types import SearchError
from search.report import result
from search.report.result import show_result, write_result

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools/search.py"
HARD = """it's a "test" $HOME `id` ünï :tada: [b] \\n"""
"""Of a directory's name: what shells, Python, rich's markup and its emojis would read."""


@pytest.fixture
def by_tool(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(TOOL)])


def test_a_line_for_the_shell_has_every_argument_as_it_was(tmp_path, monkeypatch, by_tool):
    monkeypatch.chdir(tmp_path)
    line = shell_line(HARD, "--work-dir", Path(HARD), "--cfg-options", "a=[1, 'x']")
    shown = subprocess.run(["bash", "-c", f"show() {{ printf '%s\\n' \"$@\"; }}; show {line}"], capture_output=True, text=True)
    python, tool, *arguments = shown.stdout.splitlines()
    assert arguments == [HARD, "--work-dir", HARD, "--cfg-options", "a=[1, 'x']"]
    assert (tmp_path / tool).resolve() == TOOL
    assert (
        subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True).stdout.strip()
        == sys.prefix
    )


def test_python_is_called_by_its_path_where_the_word_is_none_or_another(monkeypatch, tmp_path, by_tool):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(shell_line("status"))[0] == sys.executable
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert shell_line("status") == "python tools/search.py status"


def test_a_line_is_called_as_the_search_was(tmp_path, monkeypatch):
    script = tmp_path / "gemnet"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent)]))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert shell_line("status") == "gemnet search status"
    for other in (tmp_path / "other/gemnet", ROOT / "gemnet/__main__.py", Path("-c")):
        monkeypatch.setattr(sys, "argv", [str(other)])
        assert shell_line("status") == "python -m gemnet search status"


@pytest.mark.long
def test_the_line_of_python_builds_the_cell_from_where_the_search_was_started(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {**WHOLE, "model": {"target_macs": 463123456.0, "residual": True}, "search": {"top": 1}}
    records = run(Path(HARD), MadeEvaluator(), settings)
    show_result(write_result(records, settings, Path(HARD), "x"), settings, Display())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("import gemnet, timm")]
    names = {}
    exec(line, names)
    best = max((r for r in records if not r.stopped), key=lambda r: r.score)
    assert names["model"].architecture.cell.digest() == best.digest
    assert names["model"].architecture == fit(best.cell.pruned(), **settings["model"]).architecture


def test_numbers_are_short_where_nothing_is_lost():
    assert result._short(463e6) == "4.63e8"
    assert result._short(4.3e6) == "4.3e6"
    assert float(result._short(463123456.0)) == 463123456.0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "stopped; what was recorded is safe. Go on with: "),
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device; free some space, then go on with: "),
        (OSError(5, "Input/output error"), "Input/output error; mend that, then go on with: "),
    ],
)
def test_the_command_to_go_on_is_the_command_that_was_given(error, told, tmp_path, monkeypatch, capsys):
    def search(*given):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.pipeline.run_search", search)
    config, options = str(ROOT / "configs/search/digits.py"), ["seed=3", "space.operators=['conv1x1', 'sepconv3x3']"]
    assert search_command(config, HARD, options=options) == 1
    err = capsys.readouterr().err
    assert told in err
    again = shlex.split(err.split("o on with: ")[1])
    assert again[1:4] == ["-m", "gemnet", "search"]
    assert again[4:] == [config, "--work-dir", HARD, "--cfg-options", *options]
    assert again[0] in ("python", sys.executable)


def test_a_directory_that_begins_with_a_dash_is_no_option_of_the_printed_command(tmp_path, monkeypatch, capsys):
    def search(*given):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.pipeline.run_search", search)
    assert search_command(str(ROOT / "configs/search/digits.py"), "-w") == 1
    again = shlex.split(capsys.readouterr().err.split("o on with: ")[1])
    assert again[-1] == "--work-dir=-w"


def test_a_directory_whose_name_is_not_utf_8_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert search_command(str(ROOT / "configs/search/digits.py"), os.fsdecode(b"bad\xff")) == 1
    assert capsys.readouterr().err == "search: work directory bad\\udcff: its name is not UTF-8; name another with --work-dir\n"
    assert not list(tmp_path.iterdir())


def test_a_record_is_asked_for_where_failures_are_to_be_tried_again(tmp_path, capsys):
    assert search_command(str(ROOT / "configs/search/digits.py"), str(tmp_path / "w"), retry_failed=True) == 1
    assert "--retry-failed: " in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_what_looks_like_markup_or_an_emoji_is_printed_to_the_letter(capsys):
    display = Display()
    display.line(f"{HARD}[/x] [bold]y")
    display.table("Best of [/x] :tada:", ("a", "b"), [("[/b]", ":tada:")])
    out = capsys.readouterr().out
    assert out.startswith(f"{HARD}[/x] [bold]y\nBest of [/x] :tada:")
    assert "[/b]  :tada:" in out


PIPES = """
import sys
sys.path.insert(0, {root!r})
from gemnet.cli.running import reported
from search.core.display import Display

def task():
    for number in range(100_000):
        Display().line(str(number)) if {rich} else print(number)

sys.exit(reported("test", task, "here"))
"""


@pytest.mark.parametrize("rich", [True, False])
def test_output_that_nobody_reads_or_that_finds_no_room_ends_a_command_without_a_traceback(rich):
    script = PIPES.format(root=str(ROOT), rich=rich)
    line = f"{shlex.join([sys.executable, '-c', script])} | head -1; echo ${{PIPESTATUS[0]}}; "
    line += f"{shlex.join([sys.executable, '-c', script])} > /dev/full; echo $?"
    shown = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert shown.stdout.split() == ["0", "141", "1"]
    assert shown.stderr == "test: here: No space left on device; free some space\n"


def test_what_is_told_of_an_error_is_one_line(capsys):
    def task():
        raise SearchError("no such thing")

    assert reported("test", task, "here") == 1
    assert capsys.readouterr().err == "test: no such thing\n"
