"""Executors: the same results everywhere, failures that stay with their job, and no process left behind."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
import torch
from commands import forked_workers
from extensions import registries_restored
from scripted import CELL, THREADS, Scripted, jobs
from watching import alive, children, eventually

from gemnet.cell import Cell
from search.core.types import Job, SearchError
from search.evaluation.data import build_data
from search.evaluation.executor import SerialExecutor, WorkerExecutor, build_executor
from search.evaluation.proxy import build_evaluator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory) -> Scripted:
    return Scripted(str(tmp_path_factory.mktemp("attempts")))


@pytest.fixture(scope="module")
def workers(evaluator):
    """Two workers, started by the first test that needs them: forks, but where a test is of their start or their end."""
    with forked_workers():  # the executor keeps its way to start them
        executor = WorkerExecutor(evaluator, ["cpu", "cpu"], threads=1)
    with closing(executor):
        yield executor


def trained_on_digits() -> Scripted:
    data = build_data("digits", train_per_class=20, val_per_class=20)
    return Scripted(proxy=build_evaluator(data, width=4, stem_width=8, epochs=2, batch_size=50))


def test_two_workers_give_what_one_process_gives():
    evaluator = trained_on_digits()
    cells = [CELL, Cell(("input", "conv1x1"), ((0, 1),))]
    asked = [Job(key, cells[key % 2], 100 + key, ((1, 0.0),)) for key in range(4)]
    serial = {outcome.key: outcome.evaluation.curve for outcome in SerialExecutor(evaluator).run(asked)}
    with forked_workers(), closing(WorkerExecutor(evaluator, ["cpu", "cpu"])) as workers:
        parallel = {outcome.key: outcome.evaluation.curve for outcome in workers.run(asked)}
    assert parallel == serial
    assert len(set(serial.values())) == 4
    assert not list(Path("/dev/shm").glob(f"torch_{os.getpid()}_*"))


def test_workers_train_cells_with_operators_that_were_registered_here_alone():
    evaluator = trained_on_digits()
    with forked_workers(), registries_restored(), closing(WorkerExecutor(evaluator, ["cpu"])) as workers:
        importlib.import_module("own_operators")
        asked = [Job(0, Cell(("input", "made_se3x3", "conv1x1"), ((0, 1), (1, 2))), 107, ((1, 0.0),))]
        (serial,), (parallel,) = SerialExecutor(evaluator).run(asked), workers.run(asked)
    del sys.modules["own_operators"]
    assert parallel.error == serial.error == ""
    assert parallel.evaluation.curve == serial.evaluation.curve


def test_workers_have_the_threads_asked_for_and_this_process_keeps_its_own(evaluator, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with closing(WorkerExecutor(evaluator, ["cpu"], threads=1)) as workers:  # a new Python: a fork has read its variables
        (outcome,) = workers.run(jobs(6))
    assert outcome.evaluation.accuracy == 1
    assert outcome.evaluation.curve == (1.0, 1.0, 1.0)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    for name in THREADS:
        monkeypatch.setenv(name, "7")
    before = torch.get_num_threads()
    (outcome,) = SerialExecutor(evaluator, threads=3).run(jobs(6))
    assert outcome.evaluation.accuracy == 3
    assert torch.get_num_threads() == before


def test_errors_stay_with_their_job(evaluator, workers):
    for executor in (SerialExecutor(evaluator), workers):
        outcomes = {outcome.key: outcome for outcome in executor.run(jobs(0, 1, 2, 0))}
        assert outcomes[0].evaluation.accuracy == 0.0
        assert outcomes[1].error == "the loss became nan"
        assert outcomes[1].evaluation is None
        assert outcomes[2].error.startswith("ZeroDivisionError: a bug (scripted.py, line ")
        assert 'raise ZeroDivisionError("a bug")' in outcomes[2].error
        assert outcomes[3].evaluation.accuracy == 0.03
        assert all(outcome.seconds >= 0 for outcome in outcomes.values())


def test_workers_stay_for_the_next_run(workers):
    list(workers.run(jobs(0, 0)))
    pids = {worker.process.pid for worker in workers._workers}
    outcomes = list(workers.run(jobs(0, 0, 0, 0)))
    assert {outcome.evaluation.seconds for outcome in outcomes} <= pids
    assert {worker.process.pid for worker in workers._workers} == pids


def test_the_job_of_a_killed_worker_is_tried_again_and_then_reported(evaluator, workers):
    outcomes = {outcome.key: outcome for outcome in workers.run(jobs(0, 3, 4, 0, 0))}
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert outcomes[1].evaluation.accuracy == 0.01
    assert outcomes[2].evaluation is None
    told = "its worker died 2 times, the last time by SIGKILL; memory was probably too small: take fewer workers"
    assert outcomes[2].error.startswith(told)
    assert [len(list(Path(evaluator.directory).glob(f"{key}.*"))) for key in (1, 2)] == [2, 2]
    assert {outcome.error for key, outcome in outcomes.items() if key != 2} == {""}


def test_idle_workers_that_die_are_replaced_and_no_more_than_there_are_jobs(workers):
    list(workers.run(jobs(0, 0)))
    for worker in workers._workers:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
    (outcome,) = workers.run(jobs(0))
    assert outcome.error == ""
    (left,) = workers._workers
    assert left.process.pid == outcome.evaluation.seconds


def test_a_worker_that_lost_its_gpu_is_replaced(workers):
    (lost,) = workers.run(jobs(7))
    (worker,) = workers._workers
    pid = worker.process.pid
    (outcome,) = workers.run(jobs(0))
    assert "CUDA error: an illegal memory access" in lost.error
    assert outcome.evaluation.seconds != pid


def test_a_run_that_is_left_early_does_not_answer_in_the_next(workers):
    run = workers.run(jobs(0, 5))
    assert next(run).key == 0
    run.close()
    assert [outcome.key for outcome in workers.run([Job(9, CELL, 0)])] == [9]


def test_close_ends_busy_workers(workers):
    run = workers.run(jobs(0, 5))
    next(run)
    pids = [worker.process.pid for worker in workers._workers]
    workers.close()
    assert pids
    assert not any(map(alive, pids))
    workers.close()


class TooLarge:
    """Fails to pickle as tensors do that find no room in shared memory."""

    def __reduce__(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_shared_memory_that_is_too_small_is_told_with_the_remedy():
    with pytest.raises(SearchError, match=r"do not fit into shared memory .* enlarge /dev/shm .* or set workers=1"):
        list(WorkerExecutor(TooLarge(), ["cpu"]).run(jobs(0)))


DRIVER = """
import sys
sys.path[:0] = {path}
from contextlib import closing
from search.evaluation.executor import WorkerExecutor
from scripted import Scripted, jobs

def main():
    with closing(WorkerExecutor(Scripted(), ["cpu"])) as executor:
        for outcome in executor.run(jobs(0, 5)):
            print("one is done", flush=True)

if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped", flush=True)
        sys.exit(3)
"""


@pytest.fixture
def driver(tmp_path):
    """A driver in a process group of its own, as a shell starts it, whose worker sleeps in its second job."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(path=[str(ROOT), str(ROOT / "tests/helpers")]))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "one is done\n"
    yield process
    process.kill()
    process.communicate()


def test_workers_end_when_the_driver_is_killed(driver):
    pids = children(driver.pid)
    assert len(pids) == 2  # the worker, and Python's tracker of resources
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


def test_workers_that_cannot_start_end_the_run(monkeypatch):
    resource_tracker.ensure_running()  # it starts with the same Python
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", shutil.which("false").encode())
    executor = WorkerExecutor(Scripted(), ["cpu", "cpu"])
    with pytest.raises(SearchError, match="workers end with exit code 1 before their first job; see above, or set workers=1"):
        list(executor.run(jobs(0, 0, 0)))
    executor.close()
    assert not executor._workers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers: expected a whole number from 1, or 'auto', found 0"),
        ({"workers": "many"}, "workers: expected a whole number from 1, or 'auto', found 'many'"),
        ({"workers": True}, "workers: expected a whole number from 1, or 'auto', found True"),
        ({"threads": 0}, "threads: expected a whole number from 1, found 0"),
        ({"device": "cuda:9"}, "device 'cuda:9' is not there; expected 'auto' or some of cpu"),
        ({"device": "tpu"}, "device 'tpu' is not there"),
        ({"device": []}, "device: expected at least one of cpu"),
        ({"device": 0}, "device: expected a text, or a list of texts, found 0"),
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
