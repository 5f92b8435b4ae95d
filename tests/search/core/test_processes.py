"""Calls in several processes: what they give and tell, and that none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from scripted import work
from watching import alive, children, eventually

from search.core.processes import in_processes
from search.core.types import SearchError

ROOT = Path(__file__).resolve().parents[3]
DRIVER = """
import sys
sys.path[:0] = {path}
from scripted import work
from search.core.processes import in_processes

if __name__ == "__main__":
    for ended in in_processes(work, [(0,), ("sleep",)], 2, "test"):
        print("one is done", flush=True)
"""


def test_every_call_is_done_once_and_its_bars_are_told():
    told = []
    with closing(in_processes(work, [(number,) for number in range(5)], 2, "test", lambda *news: told.append(news))) as ended:
        assert sorted(ended) == [0, 1, 4, 9, 16]
    assert {news for news in told if news[1] == 2} == {(f"call {number}", 2, 2, "at the end") for number in range(5)}


def test_what_a_call_raises_is_raised_and_a_process_that_dies_is_told_by_name():
    with pytest.raises(SearchError, match="no such data"):
        list(in_processes(work, [("raise",)], 1, "measures"))
    with pytest.raises(SearchError, match=r"measures: a process died, .*fewer --jobs"):
        list(in_processes(work, [("die",)], 1, "measures"))


def test_closing_ends_calls_that_are_at_work():
    before = set(children(os.getpid()))  # other tests' processes, as the one that tools are forks of
    calls = in_processes(work, [(3,), ("sleep",)], 2, "test")
    assert next(calls) == 9
    pids = set(children(os.getpid())) - before
    assert len(pids) >= 2
    calls.close()
    assert eventually(lambda: sum(map(alive, pids)) <= 1)  # Python's tracker of resources stays


def test_processes_end_when_the_driver_is_killed(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(path=[str(ROOT), str(ROOT / "tests/helpers")]))
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert driver.stdout.readline() == "one is done\n"
        pids = children(driver.pid)
        assert len(pids) == 3  # two processes, and Python's tracker of resources
        driver.kill()
        driver.wait()
        assert eventually(lambda: not any(map(alive, pids)))
    finally:
        driver.kill()
        driver.communicate()
