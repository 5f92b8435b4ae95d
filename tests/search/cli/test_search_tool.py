"""tools/search.py as a user runs it, on real images (scikit-learn's digits), with real training."""

import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
from commands import run_tool, start_tool
from watching import eventually

import gemnet
from search.record.study import DONE, PENDING, read_study

ROOT = Path(__file__).parents[3]
SMALL = [
    "space.num_nodes=6", "encoder.iterations=20", "encoder.dim=8", "proxy.epochs=2", "proxy.width=4", "predictor.steps=40",
    "search.start=4", "search.rounds=2", "search.batch=2", "search.draws=500", "search.top=2",
]  # fmt: skip


ALONE = "executor.workers=1"
"""Trains in the process itself: a worker takes seconds to start, and gives the same (test_executor.py)."""


def command(work_dir, *arguments, options=SMALL):
    return ["search.py", *arguments, "--work-dir", str(work_dir), "--cfg-options", *options]


def search(work_dir, *arguments, options=SMALL):
    return run_tool(*command(work_dir, *arguments, options=[*options, ALONE]))


def essence(work_dir):
    return [(r.id, r.round, r.digest, r.seed, r.state, r.predicted, r.accuracy, r.score) for r in read_study(work_dir).records]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small search that was left alone, and what it printed."""
    work_dir = tmp_path_factory.mktemp("search") / "undisturbed"
    result = search(work_dir)
    assert result.returncode == 0, result.stderr
    return work_dir, result


def test_a_search_leaves_a_cell_its_picture_a_report_and_the_line_that_builds_it(finished):
    work_dir, result = finished
    assert {"best_cell.json", "best_cell.png", "best_cell.svg", "report.html", "study.sqlite", "encoder"} <= set(
        os.listdir(work_dir)
    )
    assert sorted(os.listdir(work_dir / "top_cells")) == ["1.json", "2.json"]
    line = re.search(r"import gemnet, timm; model = (timm\.create_model\('gemnet'.*\))", result.stdout).group(1)
    model = eval(line, {"timm": timm})
    assert sum(p.numel() for p in model.parameters()) <= 4.3e6
    best = max((r for r in read_study(work_dir).records if not r.stopped), key=lambda r: r.score)
    cell = gemnet.Cell.load(work_dir / "best_cell.json")
    assert cell.digest() == best.digest
    assert cell.provenance["score"] == best.score
    assert cell.provenance["search"] == "digits"


def test_progress_the_best_so_far_and_the_cost_are_printed(finished):
    out = finished[1].stdout
    assert re.search(r"Training the encoder: 20/20", out)
    assert re.search(r"Round 2: evaluations: 8/8", out)
    assert re.search(r"Best after round 2", out)
    assert re.search(r"Encoder, held-out pairs: .*R\^2", out)
    assert re.search(r"Lipschitz constant K <= \S+, variance \S+ <= K\^2 tr Cov = ", out)
    assert re.search(r"at 224x224 +4\.\d+ M params of 4\.300 M .*463\.0 M", out)


def test_the_same_command_again_goes_on_and_finds_nothing_left_to_do(finished):
    work_dir, _ = finished
    before = essence(work_dir)
    result = search(work_dir, "--resume")
    assert result.returncode == 0
    assert "8 of 8 evaluations are recorded" in result.stdout
    assert essence(work_dir) == before


def test_a_search_killed_with_9_goes_on_to_the_same_end(finished, tmp_path):
    expected, chance = essence(finished[0]), random.Random(0)
    seen = {}
    for _ in range(2):
        process = start_tool(*command(tmp_path / "w", options=[*SMALL, ALONE]))
        wanted = len(seen) + chance.choice([0, 1, 2])
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (tmp_path / "w/study.sqlite").exists() and done_in(tmp_path / "w") >= wanted:
                time.sleep(chance.random() * 0.5)
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for r in read_study(tmp_path / "w").records if (tmp_path / "w/study.sqlite").exists() else []:
            if r.state != PENDING:
                assert seen.setdefault(r.digest, r) == r  # what was recorded stays as it was
    assert search(tmp_path / "w").returncode == 0
    final = {r.digest: r for r in read_study(tmp_path / "w").records}
    assert all(final[digest] == r for digest, r in seen.items())
    assert essence(tmp_path / "w") == expected
    assert (tmp_path / "w/best_cell.json").read_text() == (finished[0] / "best_cell.json").read_text()


def done_in(work_dir):
    try:
        return sum(r.state == DONE for r in read_study(work_dir).records)
    except Exception:  # the file is there, its tables not yet
        return 0


@pytest.mark.long
def test_ctrl_c_stops_cleanly_with_one_line_that_says_how_to_go_on(tmp_path):
    process = start_tool(*command(tmp_path / "w", options=[*SMALL, ALONE]))
    while process.poll() is None and done_in(tmp_path / "w") < 1:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does; with workers: test_executor.py and test_ended_by_signals.py
    ended = process.end(timeout=30)
    err = ended.stderr
    assert ended.returncode == 1
    assert len(err.strip().splitlines()) == 1
    assert re.search(r"stopped; what was recorded is safe\. Go on with: python tools/search\.py .*--work-dir", err)
    assert "Traceback" not in err


def test_after_a_schedulers_signal_the_line_that_is_printed_goes_on_from_where_the_user_stands(finished, tmp_path, monkeypatch):
    hard = 'it\'s a "test" $HOME `id` ünï'
    process = start_tool(*command(hard, options=[*SMALL, ALONE]), cwd=tmp_path)
    assert eventually(lambda: process.poll() is not None or done_in(tmp_path / hard) >= 1, 300)
    process.send_signal(signal.SIGTERM)
    ended = process.end(timeout=60)
    err = ended.stderr
    assert ended.returncode == 1
    assert err.startswith("search: stopped; what was recorded is safe. Go on with: ")
    line = err.partition("Go on with: ")[2]
    words = 'python() { printf "%s\\0" "$@"; }; ' + line  # what a shell makes of it is run as a fork, not in a new Python
    read = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    tool, *arguments = read.removesuffix("\0").split("\0")
    assert (tmp_path / tool).resolve() == ROOT / "tools/search.py"
    again = run_tool(tool, *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert essence(tmp_path / hard) == essence(finished[0])
    (build,) = [line for line in again.stdout.splitlines() if line.startswith("import gemnet, timm")]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(build, names)
    assert isinstance(names["model"], gemnet.GEMNet)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["configs/search/digitz.py"], SMALL, r"digitz\.py does not exist; there are .*digits\.py"),
        ([], ["encoder.type=gnn"], r"unknown encoder 'gnn'.*kernel_guided"),
        ([], ["data.type=mnist"], r"mnist.*digits"),
        ([], ["space.operators=['conv9x9']"], "operators: value [12]: expected one of conv1x1, .*, found 'conv9x9'"),
        ([], ["serach.start=3"], "unknown setting 'serach'"),
        ([], ["search.begin=3"], "begin"),
        ([], ["executor.device=cuda:7"], "cuda:7"),
        (["configs/search/image_folder.py"], ["data.root=nowhere"], "nowhere"),
        (["--resume"], SMALL, "holds no search"),
    ],
)
def test_a_users_mistake_gives_a_message_and_no_traceback(tmp_path, arguments, options, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", command(tmp_path / "w", *arguments, options=options))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as caught:  # in this process: a new one costs seconds of imports
        runpy.run_path(str(ROOT / "tools/search.py"), run_name="__main__")
    assert caught.value.code == 1
    out, err = capsys.readouterr()
    assert re.search(message, err), err
    assert "Traceback" not in err + out
    assert not (tmp_path / "w").exists()


def test_a_directory_of_another_search_is_refused_with_the_settings_that_differ(finished):
    result = search(finished[0], options=[*SMALL, "seed=1", "proxy.epochs=3"])
    assert result.returncode == 1
    assert "proxy.epochs: 2 there, 3 here" in result.stderr
    assert "seed: 0 there, 1 here" in result.stderr


@pytest.mark.long
def test_a_loss_that_is_no_number_is_recorded_and_told(tmp_path):
    result = search(tmp_path / "w", options=[*SMALL, "proxy.learning_rate=1e30"])
    assert result.returncode == 1
    assert re.search("only 0 of 4 candidates could be evaluated; the first error: the loss became", result.stderr)
    assert {r.state for r in read_study(tmp_path / "w").records} == {"failed"}
    assert "--retry-failed tries them again" in result.stderr


@pytest.mark.long
def test_svge_is_an_encoder_by_its_name_on_the_command_line(tmp_path):
    of_the_default = ("encoder.iterations", "encoder.dim")
    options = [
        *(option for option in SMALL if not option.startswith(of_the_default)), "search.rounds=1",
        "encoder.type=svge", "encoder.cells=32", "encoder.epochs=1", "encoder.state=8", "encoder.dim=4",
    ]  # fmt: skip
    result = search(tmp_path / "w", options=options)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "w/encoder/encoder.json").read_text())["type"] == "svge"
    assert sum(r.predicted is not None for r in read_study(tmp_path / "w").records) == 2
    gemnet.Cell.load(tmp_path / "w/best_cell.json")


@pytest.mark.long
def test_a_bound_on_milliseconds_is_met_by_every_model_that_is_trained(tmp_path):
    options = [*SMALL, "search.rounds=1", "search.latency.resolution=32", "search.latency.repeats=2", "model.target_macs=50e6"]
    result = search(tmp_path / "w", options=[*options, "search.max_latency_ms=1e4"])
    assert result.returncode == 0, result.stderr
    timed = [row for note in read_study(tmp_path / "w").rounds.values() for row in note["latency"]]
    assert len(timed) == len(read_study(tmp_path / "w").records) == 6
    assert all(0 < milliseconds < 1e4 for _, milliseconds in timed)
    few = ["space.num_nodes=3", "space.operators=['conv1x1']"]  # each is built and timed before the search gives up
    result = search(tmp_path / "v", options=[*options, *few, "search.max_latency_ms=1e-3"])
    assert result.returncode == 1
    assert re.search(r"0 of \d+ .* within max_latency_ms=0\.001 \(the fastest takes \S+ ms\)", result.stderr)


def test_the_default_config_plans_at_least_40_candidates_of_30_nodes():
    from search.configuration.schedule import Schedule
    from search.configuration.settings import load_settings

    settings = load_settings(ROOT / "configs/search/digits.py")
    assert Schedule.of(settings).evaluations() >= 40
    assert settings["space"]["num_nodes"] == 30
    assert json.dumps(settings)
