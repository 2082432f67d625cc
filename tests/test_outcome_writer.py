"""Outcomes that the database refuses although everything before it let them pass."""

import uuid

import pytest
from django.db import OperationalError

from django_tasks_q.exceptions import AttemptCrashed, WorkerLost
from django_tasks_q.lifecycle.outcome import AttemptOutcome, Failure, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.worker.outcome_writer import write_outcomes

from .tasksapp import tasks


@pytest.fixture
def claimed(storage_alias):
    tasks.noop.enqueue_many([()] * 3)
    storage = storage_for(storage_alias)
    names = [tasks.noop.name]
    return storage, storage.jobs.claim(Claim(worker_id=uuid.uuid4(), backend="default", task_names=names), 3)


def test_one_bad_outcome_spoils_no_other(claimed):
    storage, jobs = claimed
    results = ["1", "a\x00b", "3"]
    outcomes = [
        Outcome.successful(job.id, job.fence, result, 0.1) for job, result in zip(jobs, results, strict=True)
    ]
    written, won = write_outcomes(storage, outcomes)
    assert set(won) == {job.id for job in jobs}
    rows = [Job.objects.using(storage.alias).get(id=job.id) for job in jobs]
    assert [row.status for row in (rows[0], rows[2])] == ["SUCCESSFUL", "SUCCESSFUL"]
    assert rows[1].status == written[1].status
    if storage.alias == "postgres":  # the others store a NUL
        assert (rows[1].status, rows[1].error_code) == ("FAILED", "RESULT_UNSTORABLE")
        attempt = Attempt.objects.using(storage.alias).get(job_id=jobs[1].id)
        assert "The database refused it" in attempt.message


def test_an_ending_that_was_written_before_counts_as_written(claimed):
    storage, (done, failed, lost) = claimed
    failure = Failure("CODE", "a.B", "message", "")
    outcomes = [
        Outcome.successful(done.id, done.fence, "1", 0.1),
        Outcome.failed(failed.id, failed.fence, failure, None, 0.1),
    ]
    write_outcomes(storage, outcomes)  # and its reply is lost
    zombie = Outcome.successful(lost.id, lost.fence, "1", 0.1)
    storage.jobs.finish([Outcome.crashed(lost.id, lost.fence, WorkerLost("silent"), again=True, poison=True)])
    _, won = write_outcomes(storage, [*outcomes, zombie])
    assert set(won) == {done.id, failed.id}
    row = Job.objects.using(storage.alias).get(id=lost.id)
    assert (row.status, row.error_code) == ("FAILED", "POISON")


def test_a_database_that_does_not_reply_is_the_callers_to_wait_for(claimed, monkeypatch):
    storage, jobs = claimed

    def gone(outcomes):
        raise OperationalError("gone")

    monkeypatch.setattr(storage.jobs, "finish", gone)
    with pytest.raises(OperationalError):
        write_outcomes(storage, [Outcome.successful(jobs[0].id, 1, "1", 0.1)])


def test_a_success_that_its_attempt_has_written_outweighs_what_became_of_its_process(claimed):
    storage, jobs = claimed
    for job in jobs:
        storage.jobs.finish(
            [Outcome.successful(job.id, job.fence, "1", 0.1)]
        )  # in the task's own transaction
    killed, stopped, late = jobs
    error = AttemptCrashed("gone")
    failure = Failure("TASK_TIMEOUT", "a.B", "late", "")
    done, written = write_outcomes(
        storage,
        [
            Outcome.crashed(killed.id, killed.fence, error, again=True, poison=False),
            Outcome.released(stopped.id, stopped.fence, 0.1),
            Outcome.failed(late.id, late.fence, failure, None, 0.1, AttemptOutcome.TIMEOUT),
        ],
    )
    assert set(written.values()) == {JobStatus.SUCCESSFUL}
    assert {outcome.kind for outcome in done} == {AttemptOutcome.SUCCESSFUL}
