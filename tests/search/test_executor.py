"""Executors: the same results everywhere, failures that stay with their job, and no process left behind."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gemnet.cell import Cell
from search.base import Evaluation, EvaluationError, Job, SearchError
from search.data import build_data
from search.executor import STARTS, SerialExecutor, WorkerExecutor, build_executor
from search.proxy import build_evaluator

ROOT = Path(__file__).resolve().parents[2]
CELL = Cell(("input", "sepconv3x3", "conv1x1"), ((0, 1), (0, 2)))


@dataclass
class Scripted:
    """Does what the job's seed asks for; `directory` is where attempts are counted."""

    directory: str = ""

    def evaluate(self, job: Job, device: str) -> Evaluation:
        if job.seed == 1:
            raise EvaluationError("the loss became nan")
        if job.seed == 2:
            raise ZeroDivisionError("a bug")
        if job.seed in (3, 4):
            Path(self.directory, f"{job.key}.{os.getpid()}").touch()
            attempts = len(list(Path(self.directory).glob(f"{job.key}.*")))
            if job.seed == 4 or attempts == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        if job.seed == 5:
            time.sleep(60)
        return Evaluation(job.key / 100, (), False, float(os.getpid()))


def jobs(*seeds: int) -> list[Job]:
    return [Job(key, CELL, seed) for key, seed in enumerate(seeds)]


@pytest.fixture
def workers():
    """Makes executors of two workers, closed at the end."""
    made = []

    def make(evaluator, count: int = 2, threads: int = 1) -> WorkerExecutor:
        made.append(WorkerExecutor(evaluator, ["cpu"] * count, threads))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition, seconds: float = 30.0) -> bool:
    """Whether `condition` comes true; the limit only bounds a failing test."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def test_two_workers_give_what_one_process_gives(workers):
    data = build_data("digits", train_per_class=20, val_per_class=20)
    evaluator = build_evaluator(data, width=4, stem_width=8, epochs=2, batch_size=50)
    asked = [Job(key, cell, key, ((1, 0.0),)) for key, cell in enumerate([CELL, Cell(("input", "conv1x1"), ((0, 1),))] * 2)]
    serial = {outcome.key: outcome.evaluation.curve for outcome in SerialExecutor(evaluator).run(asked)}
    segments = set(os.listdir("/dev/shm"))
    parallel = {outcome.key: outcome.evaluation.curve for outcome in workers(evaluator).run(asked)}
    assert parallel == serial
    assert len(set(serial.values())) == 4
    assert set(os.listdir("/dev/shm")) <= segments


def test_errors_stay_with_their_job(workers):
    for executor in (SerialExecutor(Scripted()), workers(Scripted())):
        outcomes = {outcome.key: outcome for outcome in executor.run(jobs(0, 1, 2, 0))}
        assert outcomes[0].evaluation.accuracy == 0.0
        assert outcomes[1].error == "the loss became nan"
        assert outcomes[1].evaluation is None
        assert outcomes[2].error.startswith("ZeroDivisionError: a bug (test_executor.py, line ")
        assert 'raise ZeroDivisionError("a bug")' in outcomes[2].error
        assert outcomes[3].evaluation.accuracy == 0.03
        assert all(outcome.seconds >= 0 for outcome in outcomes.values())


def test_the_job_of_a_killed_worker_is_tried_again_and_then_reported(workers, tmp_path):
    executor = workers(Scripted(str(tmp_path)))
    outcomes = {outcome.key: outcome for outcome in executor.run(jobs(0, 3, 4, 0, 0))}
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert outcomes[1].evaluation.accuracy == 0.01
    assert outcomes[2].evaluation is None
    assert outcomes[2].error == "its worker died 2 times, the last time by SIGKILL"
    assert [len(list(tmp_path.glob(f"{key}.*"))) for key in (1, 2)] == [2, 2]
    assert {outcome.error for key, outcome in outcomes.items() if key != 2} == {""}


def test_an_idle_worker_that_dies_is_replaced(workers):
    executor = workers(Scripted(), count=1)
    (first,) = executor.run(jobs(0))
    os.kill(int(first.evaluation.seconds), signal.SIGKILL)
    (second,) = executor.run(jobs(0))
    assert second.error == ""
    assert second.evaluation.seconds != first.evaluation.seconds


def test_workers_stay_for_the_next_run_and_are_no_more_than_jobs(workers):
    executor = workers(Scripted(), count=8)
    pids = [{outcome.evaluation.seconds for outcome in executor.run(jobs(0))} for _ in range(2)]
    assert pids[0] == pids[1]
    assert len(children(os.getpid())) <= 2  # one worker, and Python's tracker of resources


def test_a_run_that_is_left_early_does_not_answer_in_the_next(workers):
    executor = workers(Scripted())
    run = executor.run(jobs(0, 5, 5))
    assert next(run).key == 0
    run.close()
    assert [outcome.key for outcome in executor.run([Job(9, CELL, 0)])] == [9]


def test_close_ends_busy_workers(workers):
    executor = workers(Scripted())
    run = executor.run(jobs(0, 5, 5))
    next(run)
    pids = [worker.process.pid for worker in executor._workers]
    executor.close()
    assert not any(map(alive, pids))
    executor.close()


@dataclass
class Threads:
    """Tells the threads of its process instead of an accuracy."""

    def evaluate(self, job: Job, device: str) -> Evaluation:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return Evaluation(torch.get_num_threads(), tuple(float(os.environ[name]) for name in names), False, 0.0)


def test_workers_have_the_threads_asked_for_and_this_process_keeps_its_own(workers, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    (outcome,) = workers(Threads(), count=1, threads=2).run(jobs(0))
    assert outcome.evaluation.accuracy == 2
    assert outcome.evaluation.curve == (2.0, 2.0, 2.0)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    before = torch.get_num_threads()
    monkeypatch.setattr(Threads, "evaluate", lambda self, job, device: Evaluation(torch.get_num_threads(), (), False, 0.0))
    (outcome,) = SerialExecutor(Threads(), threads=3).run(jobs(0))
    assert outcome.evaluation.accuracy == 3
    assert torch.get_num_threads() == before


class DiesWhenSent:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)

    def evaluate(self, job: Job, device: str) -> Evaluation:
        raise AssertionError


def test_workers_that_cannot_start_end_the_run(workers):
    with pytest.raises(SearchError, match="workers end with exit code 7 before their first job"):
        list(workers(DiesWhenSent()).run(jobs(*[0] * (STARTS + 1))))


DRIVER = """
    import sys
    sys.path[:0] = {path!r}
    from contextlib import closing
    from search.executor import build_executor
    from test_executor import Scripted, jobs

    def main():
        with closing(build_executor(Scripted(), workers=2, device="cpu")) as executor:
            for outcome in executor.run(jobs(0, 0, 5, 5)):
                print(int(outcome.evaluation.seconds), flush=True)

    if __name__ == "__main__":
        try:
            main()
        except KeyboardInterrupt:
            print("stopped", flush=True)
            sys.exit(3)
"""


@pytest.fixture
def driver(tmp_path):
    """A driver in a process group of its own, as a shell starts it, with two workers asleep in their second job."""
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER.format(path=[str(ROOT), str(Path(__file__).parent)])))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    process.stdout.readline(), process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_workers_end_when_the_driver_is_killed(driver):
    pids = children(driver.pid)
    assert len(pids) == 3  # two workers, and Python's tracker of resources
    driver.kill()
    driver.wait()
    assert eventually(lambda: not any(map(alive, pids)))


def test_ctrl_c_ends_driver_and_workers_without_a_traceback_of_theirs(driver):
    pids = children(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 3
    assert out.endswith("stopped\n")
    assert err == ""
    assert eventually(lambda: not any(map(alive, pids)))


def test_an_unguarded_script_is_told_that_its_workers_cannot_start(tmp_path):
    script = tmp_path / "script.py"
    path = [str(ROOT), str(Path(__file__).parent)]
    script.write_text(
        f"import sys\nsys.path[:0] = {path!r}\nfrom search.executor import WorkerExecutor\nfrom test_executor import *\n"
        "list(WorkerExecutor(Scripted(), ['cpu']).run(jobs(0)))\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "SearchError: executor: workers end with exit code 1 before their first job; see above" in result.stderr
    assert "if __name__ == '__main__':" in result.stderr  # Python's own advice, above


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers: expected 'auto' or a whole number from 1, found 0"),
        ({"workers": "many"}, "workers: expected 'auto' or a whole number from 1, found 'many'"),
        ({"workers": True}, "workers: expected 'auto' or a whole number from 1, found True"),
        ({"threads": 0}, "threads: expected a whole number from 1, found 0"),
        ({"device": "cuda:9"}, "device 'cuda:9' is not there; expected 'auto' or some of cpu"),
        ({"device": "tpu"}, "device 'tpu' is not there"),
        ({"device": []}, "device: expected at least one of cpu"),
        ({"device": 0}, "device 0 is not there"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(SearchError) as caught:
        build_executor(Scripted(), **settings)
    assert message in str(caught.value)


def test_auto_is_a_worker_for_each_gpu_or_core(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4})
    assert build_executor(Scripted()).devices == ("cpu",) * 5
    assert build_executor(Scripted(), threads=2).devices == ("cpu",) * 2
    assert build_executor(Scripted(), workers=3).devices == ("cpu",) * 3
    assert isinstance(build_executor(Scripted(), workers=1), SerialExecutor)
    with pytest.raises(SearchError, match="device 'cuda' is not there"):
        build_executor(Scripted(), device="cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert build_executor(Scripted()).devices == ("cuda:0", "cuda:1")
    assert build_executor(Scripted(), workers=3).devices == ("cuda:0", "cuda:1", "cuda:0")
    assert build_executor(Scripted(), workers=1).device == "cuda:0"
    assert build_executor(Scripted(), device="cpu").devices == ("cpu",) * 5
    assert build_executor(Scripted(), device="cuda:1").device == "cuda:1"
