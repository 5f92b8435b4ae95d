"""Candidates that failed, tried again: what is found then, and what the record tells of it."""

import dataclasses

import pytest
from made import SCHEDULE, WHOLE, MadeEvaluator, MadeExecutor, essence, run

from search.core.display import Display
from search.core.types import EvaluationError, Job
from search.evaluation.cost import build_cost
from search.evaluation.executor import SerialExecutor
from search.pipeline import Search
from search.record.export import read_record, write_export
from search.record.study import DONE, FAILED, PENDING, Study
from search.spaces.dag import DagSpace
from search.steps.opening import retry_failed_candidates

SETTINGS = {**WHOLE, "space": {"num_nodes": 8}, "search": {"start": 8, "rounds": 3, "batch": 4, "draws": 2000}}


def retried(directory, schedule=SCHEDULE, fails=lambda job: False):
    """The record after the search has gone on, and what was trained for it."""
    evaluator = MadeEvaluator(fails)
    with Study(directory, SETTINGS, {}) as study:
        retry_failed_candidates(study, Display(quiet=True))
        parts = SETTINGS, DagSpace(8), schedule, evaluator, study, MadeExecutor(evaluator), Display(quiet=True)
        return Search(*parts, build_cost(evaluator.cost, {}), None).run(), evaluator.trained


def started_with_failures(directory, fails, schedule=SCHEDULE):
    return run(directory, MadeEvaluator(fails), SETTINGS, schedule)


def test_a_search_whose_last_round_failed_ends_as_one_without_failures(tmp_path):
    undisturbed = run(tmp_path / "a", settings=SETTINGS)
    last = {r.digest for r in undisturbed if r.round == 3}
    broken = started_with_failures(tmp_path / "b", lambda job: job.cell.pruned().digest() in last)
    assert {r.round for r in broken if r.state == FAILED} == {3}
    found, trained = retried(tmp_path / "b")
    assert essence(found) == essence(undisturbed)
    assert set(trained) == last
    assert read_record(tmp_path / "b").rounds == read_record(tmp_path / "a").rounds


def test_rounds_that_were_proposed_stay_and_the_record_tells_that_they_did_not_know(tmp_path):
    broken = started_with_failures(tmp_path, lambda job: job.key == 2, dataclasses.replace(SCHEDULE, rounds=2))
    before = read_record(tmp_path)
    found, trained = retried(tmp_path)  # one round more
    assert trained[0] == broken[1].digest
    after = read_record(tmp_path)  # which checks how many evaluations each round came from
    assert [r.digest for r in found[: len(broken)]] == [r.digest for r in broken]
    assert found[1].state == DONE
    assert {index: after.rounds[index] for index in (0, 1, 2)} == before.rounds
    assert after.rounds[3]["evaluated"] == before.rounds[2]["evaluated"] + 4 + 1
    (retry,) = after.retries
    assert (retry.id, retry.error, retry.round) == (2, "the loss is NaN", 2)
    write_export(after, tmp_path / "a.jsonl")
    assert read_record(tmp_path / "a.jsonl").retries == after.retries


def test_what_fails_again_is_recorded_again_and_can_be_tried_once_more(tmp_path):
    def fails(job):
        return job.key in (2, 9)

    first = started_with_failures(tmp_path, fails)
    again, trained = retried(tmp_path, fails=fails)
    assert essence(again) == essence(first)
    assert len(trained) == 2
    assert [(retry.id, retry.round) for retry in read_record(tmp_path).retries] == [(2, 3), (9, 3)]
    found, _ = retried(tmp_path)
    assert {r.state for r in found} == {DONE}
    assert [retry.id for retry in read_record(tmp_path).retries] == [2, 9, 2, 9]


def test_a_stop_between_loses_nothing_and_without_failures_nothing_changes(tmp_path):
    first = started_with_failures(tmp_path, lambda job: job.key in (2, 9))
    with Study(tmp_path, SETTINGS, {}) as study:
        study.retry_failed()
    assert [r.id for r in read_record(tmp_path).records if r.state == PENDING] == [2, 9]
    found = run(tmp_path, settings=SETTINGS)  # the same command, without the option
    assert {r.state for r in found} == {DONE}
    assert [r for r in essence(found) if r[0] not in (2, 9)] == [r for r in essence(first) if r[0] not in (2, 9)]
    before = read_record(tmp_path)
    with Study(tmp_path, SETTINGS, {}) as study:
        assert study.retry_failed() == []
    assert dataclasses.replace(read_record(tmp_path), sessions=()) == dataclasses.replace(before, sessions=())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["Python", "torch", "system"],
)  # fmt: skip
def test_memory_is_named_as_the_cause_where_it_is_with_what_helps(error):
    class Raising:
        def evaluate(self, job, device):
            raise error

    (outcome,) = SerialExecutor(Raising()).run([Job(1, None, 0)])
    assert outcome.error.startswith("memory was too small; take fewer workers (executor.workers), smaller batches")


def test_other_errors_are_not_called_memory():
    class Raising:
        def evaluate(self, job, device):
            raise EvaluationError("the loss became nan")

    (outcome,) = SerialExecutor(Raising()).run([Job(1, None, 0)])
    assert outcome.error == "the loss became nan"
