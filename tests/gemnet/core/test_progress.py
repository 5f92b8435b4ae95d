"""How far long work has come is told on a terminal and in a log, and changes nothing of the work."""

import io
import itertools
import re

import pytest
from rich.console import Console

from gemnet.core import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds pass when the test lets them."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def through(work, clock, seconds, **settings):
    for item in progress.tracked(work, "photos", **settings):
        clock(seconds)
        yield item


def test_in_a_log_a_line_now_and_then_tells_the_time_that_is_left(clock, capsys):
    assert list(through(list("abcde"), clock, 6)) == list("abcde")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == ["photos: 2/5, 12 s, ETA 18 s", "photos: 4/5, 24 s, ETA 6 s", "photos: 5/5, 30 s"]


def test_what_was_done_before_counts_for_no_pace(clock, capsys):
    with progress.progress("answers") as report:
        report(600, 1000)
        clock(20)
        report(700, 1000, "[bold]:smile:")
    assert capsys.readouterr().err == "answers: 700/1000, 20 s, ETA 60 s  [bold]:smile:\n"


def test_work_of_unknown_length_is_told_without_an_end(clock, capsys):
    assert list(itertools.islice(through(itertools.count(), clock, 5), 5)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == ["photos: 2, 10 s", "photos: 4, 20 s"]
    assert list(through(iter("abc"), clock, 20, total=3)) == list("abc")
    assert capsys.readouterr().err.splitlines()[-1] == "photos: 3/3, 60 s"


def test_little_work_and_none_are_done_in_silence(clock, capsys):
    assert list(through([1, 2], clock, 99, least=3)) == [1, 2]
    assert list(through([], clock, 99)) == []
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_with_the_time_that_is_left():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=90, color_system=None)
    with progress.progress("[red]photos", console) as report:
        report(1, 4)
        report(4, 4, "done")
    last = [line for line in shown.getvalue().splitlines() if "photos" in line][-1]
    assert re.search(r"\[red\]photos .*4/4 .* ETA .* done", last)
