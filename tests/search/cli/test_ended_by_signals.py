"""Signals of a shell, a scheduler or a terminal that closes: commands end as after Ctrl-C, and no process of theirs is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from watching import alive, children, eventually

ROOT = Path(__file__).resolve().parents[3]
DRIVER = """
import sys
sys.path[:0] = {path}
from contextlib import closing
from gemnet.cli.running import reported
from search.core.processes import in_processes
from scripted import Scripted, jobs, work

def workers():
    from search.evaluation.executor import WorkerExecutor
    with closing(WorkerExecutor(Scripted(), ["cpu"])) as executor:
        for outcome in executor.run(jobs(0, 5)):
            print("one is done", flush=True)

def processes():
    with closing(in_processes(work, [(0,), ("sleep",)], 2, "test")) as results:
        for ended in results:
            print("one is done", flush=True)

if __name__ == "__main__":
    sys.exit(reported("test", {task}, "here", "stopped; go on"))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "number", "whom"),
    [
        pytest.param("workers", signal.SIGTERM, os.kill, marks=pytest.mark.slow),
        ("workers", signal.SIGHUP, os.killpg),
        ("processes", signal.SIGTERM, os.killpg),
        ("processes", signal.SIGHUP, os.kill),
    ],
)
def test_a_command_ends_with_one_line_and_without_orphans(tmp_path, task, number, whom):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(path=[str(ROOT), str(ROOT / "tests/helpers")], task=task))
    command = [sys.executable, str(script)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # also where the tests run under nohup
    )
    try:
        assert process.stdout.readline() == "one is done\n"
        pids = children(process.pid)
        whom(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (1, "", "test: stopped; go on\n")
        assert pids
        assert eventually(lambda: not any(map(alive, pids)))
    finally:
        process.kill()
        process.communicate()
