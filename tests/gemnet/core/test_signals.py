"""Signals that end a command: as Ctrl-C, once; and what is ignored stays so. Real processes, of Python alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gemnet.bench.comparison import Children
from gemnet.cli.main import main
from gemnet.core.errors import UserError
from gemnet.core.signals import terminating
from gemnet.openmmlab import engine

FILE = Path(__file__).parents[3] / "gemnet" / "core" / "signals.py"
SCRIPT = """
import runpy, sys, time
terminating = runpy.run_path({file!r})["terminating"]
try:
    with terminating():
        try:
            print("ready", flush=True)
            time.sleep({first})
        finally:
            print("closing", flush=True)
            time.sleep({last})
            print("closed", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(3)
print("done", flush=True)
"""


def started(first, last, *before):
    command = [*before, sys.executable, "-c", SCRIPT.format(file=str(FILE), first=first, last=last)]
    heeded = None if before else lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, preexec_fn=heeded
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_ctrl_c_and_a_second_one_at_once_is_the_same(number):
    process = started(60, 0.5)
    process.send_signal(number)
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGHUP)  # as a terminal that closes sends it twice
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, "closed\nstopped\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_later_second_signal_ends_the_process_at_once(number):
    process = started(60, 60)
    process.send_signal(number)
    assert process.stdout.readline() == "closing\n"
    time.sleep(1.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-number, "", "")


def test_under_nohup_a_terminal_that_closes_ends_nothing():
    process = started(0.5, 0, "nohup")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "closing\nclosed\ndone\n")


def test_handlers_are_as_before_afterwards_and_in_other_threads_nothing_changes():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with terminating():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    seen = []

    def body():
        with terminating():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before[1]]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_training_that_a_scheduler_ends_says_how_it_goes_on(capsys, monkeypatch):
    def train(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(engine, "train", train)
    assert main(["train", "CONFIG"]) == 1
    assert capsys.readouterr().err == "train: stopped; the same command with --resume goes on from the last checkpoint\n"


def test_the_processes_of_a_comparison_end_with_it():
    codes = []
    with pytest.raises(KeyboardInterrupt), Children() as children:  # noqa: PT012
        thread = threading.Thread(target=lambda: codes.append(children.run(["sleep", "60"])))
        thread.start()
        while not children._running:
            time.sleep(0.01)
        raise KeyboardInterrupt
    thread.join(30)
    assert codes == [-signal.SIGTERM]
    with pytest.raises(UserError, match="stopped"):
        children.run(["sleep", "60"])
