"""Ray: the results of one process, lost processes and machines cost only what ran there, and addresses that do not answer."""

import signal
import socket
import sys
import time

import pytest
import ray
from ray.cluster_utils import Cluster
from scripted import CELL, Scripted, jobs

from gemnet.core.signals import ENDING
from search.core.types import Job, SearchError
from search.evaluation.data import build_data
from search.evaluation.executor import SerialExecutor, build_executor
from search.evaluation.proxy import build_evaluator


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one core each, as far as Ray knows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))  # tasks find this test's evaluator
        patch.setenv("RAY_worker_niceness", "0")  # else whatever else the machine does comes first, and tests take minutes
        health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": health})
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    data = build_data("digits", train_per_class=20, val_per_class=20)
    proxy = build_evaluator(data, width=4, stem_width=8, epochs=2, batch_size=50)
    return Scripted(str(tmp_path_factory.mktemp("attempts")), proxy)


@pytest.fixture(scope="module")
def connected():
    """The executor that is connected, or nothing: this process is connected to one cluster at a time."""
    found = []
    yield found
    for executor in found:
        executor.close()


@pytest.fixture
def executor(cluster, evaluator, connected):
    """One for all tests that use it one after the other: to connect anew takes seconds of workers that start."""
    if not connected:
        connected.append(build_executor(evaluator, type="ray", address=cluster.address))
    return connected[0]


@pytest.fixture
def nobody_connected(connected):
    """For tests that connect by themselves."""
    while connected:
        connected.pop().close()


def test_ray_gives_what_one_process_gives_and_a_jobs_own_errors_stay_with_it(executor, evaluator):
    asked = [Job(key, CELL, seed, ((1, 0.0),)) for key, seed in enumerate((100, 101, 1, 2))]
    expected = {outcome.key: outcome for outcome in SerialExecutor(evaluator).run(asked)}
    found = {outcome.key: outcome for outcome in executor.run(asked)}
    for key in (0, 1):
        assert found[key].evaluation.curve == expected[key].evaluation.curve
    assert {key: found[key].error for key in (2, 3)} == {key: expected[key].error for key in (2, 3)}
    assert executor.slots == 1


@pytest.mark.parametrize(
    "error",
    [ray.exceptions.RuntimeEnvSetupError("no such file"),
     ray.exceptions.RayTaskError("_evaluate", "no module", ModuleNotFoundError("torch"))],
    ids=["environment", "task"],
)  # fmt: skip
def test_a_cluster_that_cannot_run_what_it_is_given_is_told_and_no_candidate_has_failed(executor, monkeypatch, error):
    def get(task):
        raise error

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(SearchError, match=r"cannot run candidates \(\w+: .*\); it needs this machine's Python and packages"):
        list(executor.run(jobs(0, 0)))


@pytest.mark.slow  # Ray starts four processes anew
def test_a_job_whose_process_dies_is_tried_once_more_and_one_that_kills_twice_has_failed(executor):
    outcomes = {outcome.key: outcome for outcome in executor.run(jobs(0, 3, 4, 0))}
    assert not outcomes[0].error
    assert outcomes[1].evaluation is not None
    assert "its worker died 2 times" in outcomes[2].error
    assert not outcomes[3].error


@pytest.mark.usefixtures("nobody_connected")
def test_signals_are_for_the_command_to_hear_though_ray_has_handlers_of_its_own(cluster, evaluator):
    before = [signal.getsignal(number) for number in ENDING]
    executor = build_executor(evaluator, type="ray", address=cluster.address)
    try:
        assert [signal.getsignal(number) for number in ENDING] == before
    finally:
        executor.close()


@pytest.mark.slow  # a minute and a half until Ray has given the machine up
@pytest.mark.usefixtures("nobody_connected")
def test_a_machine_that_is_lost_costs_only_what_ran_there(cluster, evaluator, tmp_path):
    second = cluster.add_node(num_cpus=1)
    executor = build_executor(Slow(str(tmp_path)), type="ray", address=cluster.address)
    try:
        assert executor.slots == 2
        outcomes = executor.run([Job(key, CELL, 0) for key in range(6)])
        found = [next(outcomes)]
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 3 and time.monotonic() < deadline:  # both machines are at work again
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        found += outcomes
        assert sorted(outcome.key for outcome in found) == list(range(6))
        assert not any(outcome.error for outcome in found)
        assert 6 <= len(list(tmp_path.iterdir())) <= 8  # nothing that was done is done again
    finally:
        executor.close()


class Slow(Scripted):
    """Takes a second, and leaves a file for each attempt."""

    def evaluate(self, job, device):
        from pathlib import Path

        from search.core.types import Evaluation

        Path(self.directory, f"{job.key}.{time.monotonic_ns()}").touch()
        time.sleep(1)
        return Evaluation(0.5, (0.5,), False, 1.0)


@pytest.mark.long
@pytest.mark.usefixtures("nobody_connected")
def test_an_address_that_does_not_answer_is_told_at_once(evaluator):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"  # bound, but nobody listens
        start = time.monotonic()
        with pytest.raises(SearchError, match=rf"Ray at {nobody} does not answer .*; is its head running there\?"):
            build_executor(evaluator, type="ray", address=nobody)
        assert time.monotonic() - start < 30
    with socket.socket() as silent, pytest.MonkeyPatch.context() as patch:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # whoever connects hears nothing
        patch.setattr("search.evaluation.ray_executor.ANSWER_SECONDS", 6.0)
        with pytest.raises(SearchError, match=r"does not answer within 6 s; is its head running there\?"):
            build_executor(evaluator, type="ray", address=f"127.0.0.1:{silent.getsockname()[1]}")
    with pytest.raises(SearchError, match="expected 'auto', host:port or ray://host:port"):
        build_executor(evaluator, type="ray", address="somewhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"type": "ray", "device": "cuda"}, "the Ray cluster has no GPU"),
     ({"type": "ray", "threads": 64}, "threads=64: the largest machine of the Ray cluster offers 1 cores"),
     ({"type": "slurm"}, "type: expected one of local, ray, found 'slurm'"),
     ({"type": "local", "address": "auto"}, "address='auto' is for executor.type=ray")],
)  # fmt: skip
@pytest.mark.usefixtures("nobody_connected")
def test_settings_that_do_not_do_are_told(cluster, evaluator, settings, message):
    if settings["type"] == "ray":
        settings = {**settings, "address": cluster.address}
    with pytest.raises(SearchError, match=message):
        build_executor(evaluator, **settings)
