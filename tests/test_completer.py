"""The jobs that a supervisor holds, from the claim to the ending that is written, on every database."""

import socket
import uuid
from types import SimpleNamespace

import pytest

from django_tasks_q.conf import Options
from django_tasks_q.events import EndingsWritten, Events, JobsClaimed
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.maintenance.orphans import release_orphans
from django_tasks_q.models.statistic import Statistic
from django_tasks_q.storage import ControlState, storage_for
from django_tasks_q.worker.children.pool import Pool
from django_tasks_q.worker.children.protocol import Channel
from django_tasks_q.worker.completer import Completer
from django_tasks_q.worker.config import WorkerConfig
from django_tasks_q.worker.fetcher import Fetcher
from django_tasks_q.worker.held_jobs import HeldJobs
from django_tasks_q.worker.subscribers.console import Console
from django_tasks_q.worker.subscribers.metrics import Metrics

from .conftest import on_one_database
from .tasksapp import tasks
from .test_pool import group_of
from .test_storage import FAILURE, add, attempts, row, success
from .test_worker import finished, job, outcomes


class Desk:
    """A supervisor's bookkeeping, without children: the tests say what these would."""

    def __init__(self, storage):
        ours, theirs = socket.socketpair()
        self.sockets = (ours, theirs)
        self.storage = storage
        self.events = Events()
        self.pool = Pool(
            SimpleNamespace(channel=Channel(ours, blocking=False)),
            {"a": group_of("process")},
            {},
            self.events,
        )
        self.held_jobs = HeldJobs()
        self.lease = SimpleNamespace(id=uuid.uuid4(), may_claim=True)
        wakeup = SimpleNamespace(pause=lambda idle, notified: 0.0)
        self.metrics = Metrics(storage, "default")
        config = WorkerConfig(backend="default", database=storage.alias, name="w")
        control = SimpleNamespace(current=ControlState())
        self.fetcher = Fetcher(
            storage, config, self.lease, self.pool, self.held_jobs, wakeup, control, self.events
        )
        self.console = Console(lambda line: None, 0)
        self.completer = Completer(storage, self.fetcher, self.pool, self.held_jobs, self.events)
        on = self.events.subscribe
        on(JobsClaimed, lambda event: self.metrics.claimed(event.jobs))
        on(EndingsWritten, lambda event: self.metrics.written(event.endings, event.written))
        on(EndingsWritten, lambda event: self.console.written(event.endings, event.written))

    def claimed(self):
        """The jobs that were claimed and wait for children."""
        (group,) = self.pool.groups
        jobs = list(group.backlog)
        group.backlog.clear()
        return jobs

    def end(self, *endings):
        """Children report how jobs have ended; it is written, and more is claimed."""
        self.completer.add(endings)
        self.completer.send(notified=True)
        self.completer.collect()


@pytest.fixture
def desk(storage_alias):
    desk = Desk(storage_for(storage_alias))
    yield desk
    for sock in desk.sockets:
        sock.close()


def again(job):
    return Outcome.failed(job.id, job.fence, FAILURE, 0, 0.1)


def test_a_job_that_is_claimed_by_the_exchange_that_writes_its_end_is_held(desk):
    add(desk.storage)
    desk.fetcher.claim(notified=True)
    (first,) = desk.claimed()
    desk.end(again(first))
    (second,) = desk.claimed()
    assert (second.id, second.fence) == (first.id, 2)
    assert release_orphans(desk.storage, desk.lease.id, desk.held_jobs, Options()) == {}
    assert row(desk.storage, second).status == "RUNNING"
    desk.end(success(second))
    assert len(desk.held_jobs) == 0
    desk.metrics.write(now=True)
    counts = Statistic.objects.using(desk.storage.alias).values_list("started", "retried", "successful")
    assert list(counts) == [(2, 1, 1)]


def test_a_claim_whose_reply_was_lost_is_given_back_although_an_earlier_attempt_is_held(desk):
    add(desk.storage)
    desk.fetcher.claim(notified=True)
    (first,) = desk.claimed()
    desk.storage.jobs.finish([again(first)])  # and its reply is lost, like that of the claim
    (unheard,) = desk.storage.jobs.claim(desk.fetcher._terms(["a"]), 1)
    assert release_orphans(desk.storage, desk.lease.id, desk.held_jobs, Options()) == {
        first.id: JobStatus.READY
    }
    assert row(desk.storage, unheard).attempts == 1


def test_two_endings_of_one_job_are_distinguished(desk, caplog):
    add(desk.storage)
    desk.fetcher.claim(notified=True)
    (first,) = desk.claimed()
    desk.end(again(first))
    (second,) = desk.claimed()
    # As after an outage in which it was unknown what became of the first.
    desk.held_jobs.add([first])
    desk.completer.add([again(first), success(second)])
    desk.completer.write()
    assert row(desk.storage, second).status == "SUCCESSFUL"
    assert (desk.console.counts["succeeded"], desk.console.counts["retried"]) == (1, 1)
    assert caplog.text.count("dropped: the job was taken from this worker") == 1
    assert [attempt.outcome for attempt in attempts(desk.storage, second)] == ["failed", "successful"]


def test_jobs_that_were_given_back_are_not_among_those_that_a_worker_may_claim_in_its_life(desk):
    add(desk.storage)
    desk.fetcher.claim(notified=True)
    assert desk.fetcher.total == 1
    (waiting,) = desk.pool.groups[0].backlog
    desk.completer.add(desk.pool.cancel([waiting.id]))
    desk.completer.write()
    assert desk.fetcher.total == 0


@on_one_database
def test_an_attempt_that_begins_as_the_last_one_ends_is_the_workers_own(project, tmp_path):
    """It is never given back as an orphan, however often the worker searches for those."""
    project.env |= {
        "EXTRA_APPS": '["tests.hardship"]',
        "HARDSHIP": '{"intervals": {"orphans": 0.0}, "executor": "process"}',
    }
    go = tmp_path / "go"
    marks = [tmp_path / f"mark{number}" for number in range(2)]
    results = [tasks.fail_then_wait.enqueue(str(mark), str(go)) for mark in marks]
    with project.worker("--processes", "3") as worker:
        project.wait_for(lambda: all(mark.exists() for mark in marks))
        for _ in range(5):  # and between two of them the worker searches
            finished(project, tasks.noop.enqueue())
        assert [job(result).status for result in results] == ["RUNNING", "RUNNING"]
        go.touch()
        finished(project, *results)
        assert "did not know of" not in worker.output
    assert [outcomes(result) for result in results] == [["failed", "successful"]] * 2
    assert [job(result).fence for result in results] == [2, 2]
