"""An attempt counts as a crash, or fails its job, only if it is known to have begun."""

import itertools
import time

import pytest
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.lifecycle.outcome import AttemptOutcome
from django_tasks_q.lifecycle.retry import UNCOUNTED_RESCUES
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.maintenance.orphans import release_orphans
from django_tasks_q.maintenance.rescue import rescue
from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.worker.begin_marks import needs_mark

from .conftest import on_one_database
from .tasksapp import tasks
from .test_pool import KILLED, FakeChild, begin, children, claimed, fed, pool, several  # noqa: F401
from .test_storage import ME, YOU, add, attempts, claim, register, row, storage, success, take  # noqa: F401
from .test_worker import finished, job, options, outcomes

FAIL = '{"on_lost":"fail"}'
SETTINGS = Options(max_crashes=3)


def mark(storage, *jobs):  # noqa: F811
    return storage.jobs.mark_begun([(job.id, job.fence) for job in jobs])


# In the table


def test_a_mark_is_that_of_one_attempt(storage):  # noqa: F811
    first = take(storage)
    assert mark(storage, first) == {(first.id, 1)}
    assert row(storage, first).begun_fence == 1
    rescue(storage, "default", SETTINGS)
    again = claim(storage, worker_id=YOU)[0]
    # The attempt that was marked does not own the job any more, and the new one is not marked by that.
    assert mark(storage, first) == set()
    assert (row(storage, first).fence, row(storage, first).begun_fence) == (2, 1)
    (lost,) = storage.maintenance.lost("default")
    assert not lost.has_begun
    assert mark(storage, again) == {(again.id, 2)}
    (lost,) = storage.maintenance.lost("default")
    assert lost.has_begun


def test_many_are_marked_at_once_without_those_that_are_taken(storage):  # noqa: F811
    values = {"task_name": "a", "backend": "default", "arguments": "[[],{}]", "enqueued_at": timezone.now()}
    Job.objects.using(storage.alias).bulk_create(Job(id=uuid7(), **values) for _ in range(450))
    jobs = [job for _ in range(3) for job in claim(storage, 200)]
    taken, ended = jobs[7], jobs[433]
    Job.objects.using(storage.alias).filter(id=taken.id).update(fence=9)
    storage.jobs.finish([success(ended)])
    assert mark(storage, *jobs) == {(job.id, 1) for job in jobs} - {(taken.id, 1), (ended.id, 1)}
    marked = set(Job.objects.using(storage.alias).filter(begun_fence=1).values_list("id", flat=True))
    assert marked == {job.id for job in jobs} - {taken.id, ended.id}


CASES = list(itertools.product([False, True], ["", FAIL], [0, 1, 2], [0, 1, 2, 3]))


@pytest.mark.parametrize("by", ["rescue", "orphans"])
def test_what_a_lost_attempt_does_to_its_job(storage, by):  # noqa: F811
    """Marked or not × on_lost × crashes × rescues, for jobs of another worker and for a worker's orphans."""
    jobs = []
    for _, stored, crashes, rescues in CASES:
        jobs.append(add(storage, options=stored, crashes=crashes, rescues=rescues))
    taken = {job.id: job for job in claim(storage, len(CASES))}
    marked = [taken[job.id] for job, case in zip(jobs, CASES, strict=True) if case[0]]
    # Of an earlier attempt, which says nothing of this one.
    Job.objects.using(storage.alias).update(begun_fence=0)
    assert len(mark(storage, *marked)) == len(CASES) // 2
    if by == "rescue":
        states = rescue(storage, "default", SETTINGS).states
    else:
        states = release_orphans(storage, ME, (), SETTINGS)
    for job_, (is_marked, stored, crashes, rescues) in zip(jobs, CASES, strict=True):
        case = (is_marked, stored, crashes, rescues)
        found, records = row(storage, job_), attempts(storage, job_)
        assert states[job_.id] == found.status, case
        if is_marked:
            poison = crashes == 2
            code = "POISON" if poison else "WORKER_LOST"
            assert found.status == ("FAILED" if poison or stored else "READY"), case
            assert (found.crashes, found.rescues, found.error_code) == (crashes + 1, rescues, code), case
            assert [(one.outcome, one.error_code) for one in records] == [("lost", code)], case
        else:
            assert (found.status, found.crashes, found.error_code) == ("READY", crashes, ""), case
            assert found.rescues == rescues + (by == "rescue"), case
            assert [one.outcome for one in records] == (["rescued"] if by == "rescue" else []), case
        assert found.attempts == 0, case


def test_orphans_that_are_held_stay(storage):  # noqa: F811
    held = take(storage)
    assert release_orphans(storage, ME, {(held.id, held.fence)}, SETTINGS) == {}
    assert row(storage, held).status == "RUNNING"


def test_a_claim_says_how_often_a_job_was_rescued(storage):  # noqa: F811
    for number in range(UNCOUNTED_RESCUES + 1):
        found = (claim(storage) or [take(storage)])[0]
        assert (found.rescues, needs_mark(found)) == (number, number == UNCOUNTED_RESCUES)
        assert len(rescue(storage, "default", SETTINGS).uncounted) == 1


# In the supervisor


def waiting(pool, *jobs):  # noqa: F811
    pool.add(jobs)
    return jobs


def write(pool):  # noqa: F811
    """Mark what is to be marked, as if the database had done it. Return the ids."""
    jobs = pool.unmarked()
    pool.marks._marked |= {(job.id, job.fence) for job in jobs}
    return [job.id for job in jobs]


def test_plain_jobs_need_no_mark(pool, children):  # noqa: F811
    waiting(pool, claimed(), claimed(options='{"on_lost":"retry"}'), claimed(rescues=1))
    assert (pool.unmarked(), pool.groups[0].has_marked) == ([], False)
    assert fed(pool) == 3


@pytest.mark.parametrize("values", [{"options": FAIL}, {"rescues": 2}, {"rescues": 7}])
def test_a_job_that_needs_a_mark_waits_for_it(pool, children, values):  # noqa: F811
    first, second, third = waiting(pool, *(claimed(**values) for _ in range(3)))
    assert fed(pool) == 0
    # One for each child that is free, by one statement.
    assert write(pool) == [first.id, second.id]
    assert fed(pool) == 2
    assert [len(child.held) for child in children] == [1, 1]
    # A child that has something to do is given none.
    assert (write(pool), fed(pool)) == ([], 0)
    child = children[0]
    (job,) = child.jobs()
    child.take_token()
    child.report(job)
    pool.receive()
    assert (write(pool), fed(pool)) == ([third.id], 1)


def test_jobs_keep_their_order_and_none_is_sent_behind_another(pool, children):  # noqa: F811
    children[1].parent_side.is_retiring = True
    a, b, c, d = waiting(pool, claimed(), claimed(options=FAIL), claimed(), claimed(options=FAIL))
    assert (write(pool), fed(pool)) == ([], 1)
    assert [job.id for job in children[0].jobs()] == [a.id]
    assert (write(pool), fed(pool)) == ([], 0)
    children[0].take_token()
    children[0].report(a)
    pool.receive()
    # What needs no mark may go behind it.
    assert (write(pool), fed(pool)) == ([b.id], 2)
    assert [job.id for job in children[0].jobs()] == [b.id, c.id]
    assert list(pool.groups[0].backlog) == [d]


@pytest.mark.parametrize("several", ["thread", "async"], indirect=True)
def test_in_children_of_several_jobs_each_place_is_free_for_one(pool, several):  # noqa: F811
    pool.groups[0].share(pool.clock, pool.marks, pool.memory_kills)
    jobs = waiting(pool, *(claimed(options=FAIL) for _ in range(7)))
    capacity = pool.groups[0].capacity
    assert write(pool) == [job.id for job in jobs[:capacity]]
    assert fed(pool) == capacity
    assert (write(pool), fed(pool)) == ([], 0)


def test_a_job_that_is_taken_back_keeps_its_mark(pool, children):  # noqa: F811
    children[1].parent_side.is_retiring = True
    waiting(pool, claimed(options=FAIL))
    write(pool)
    assert fed(pool) == 1
    pool.groups[0].put_back(children[0].parent_side.take_back())
    assert (write(pool), fed(pool)) == ([], 1)


def test_jobs_that_wait_for_a_mark_in_vain_are_given_back(pool, children):  # noqa: F811
    children[0].parent_side.is_retiring = children[1].parent_side.is_retiring = True
    pool.groups[0].size = 0
    jobs = waiting(pool, claimed(options=FAIL), claimed())
    assert pool.feed() == []
    pool.groups[0].waiting_since = time.monotonic() - 60
    assert pool.feed() == list(jobs)


def end_with(child, pool, *, begun, kill_reason=""):  # noqa: F811
    """Let a child die that has taken its job, before or after the job's code has begun."""
    assert len(child.jobs()) == 1
    child.take_token()
    if begun:
        child.attempt_clock.mark_begun()
    child.parent_side.kill_reason = kill_reason
    (outcome,) = pool._bury(child.parent_side, KILLED)
    return outcome


@pytest.mark.parametrize("stored", ["", FAIL])
@pytest.mark.parametrize("rescues", [0, 2])
@pytest.mark.parametrize("begun", [False, True])
def test_of_a_dead_child_what_has_begun_is_known(pool, children, stored, rescues, begun):  # noqa: F811
    waiting(pool, claimed(options=stored, rescues=rescues))
    write(pool)
    pool.feed()
    child = next(child for child in children if child.held)
    outcome = end_with(child, pool, begun=begun)
    if not begun and not rescues:
        assert (outcome.kind, outcome.status) == (AttemptOutcome.RESCUED, JobStatus.READY)
        return
    # The third time it counts, since the job may be the cause. But it has not run: it may run again.
    fails = begun and stored
    assert outcome.kind is AttemptOutcome.CRASHED
    assert outcome.status is (JobStatus.FAILED if fails else JobStatus.READY)


@pytest.mark.parametrize("begun", [False, True])
def test_a_worker_that_stops_fails_only_what_has_begun(pool, children, begun):  # noqa: F811
    waiting(pool, claimed(options=FAIL))
    write(pool)
    pool.feed()
    child = next(child for child in children if child.held)
    outcome = end_with(child, pool, begun=begun, kill_reason="release")
    if begun:
        assert (outcome.status, outcome.failure.code) == (JobStatus.FAILED, "WORKER_STOPPED")
    else:
        assert (outcome.status, outcome.kind) == (JobStatus.READY, AttemptOutcome.RELEASED)


# In workers


@pytest.mark.parametrize("executor", ["process", "thread", "async"])
def test_the_mark_is_there_when_the_job_begins(project, executor):
    task = {"process": tasks.begun_fence, "thread": tasks.begun_fence_in_thread}.get(
        executor, tasks.begun_fence_on_loop
    )
    marked = [task.enqueue() for _ in range(8)]
    plain = [task.using(on_lost="retry").enqueue() for _ in range(8)]
    project.run("runworker", "--batch", "--processes", "2", "--threads", "3", "--async-concurrency", "3")
    finished(project, *marked, *plain, timeout=1)
    assert {result.return_value for result in marked} == {1}
    assert {result.return_value for result in plain} == {None}
    assert not Job.objects.exclude(fence=1).exists()


@on_one_database
def test_a_job_that_kills_its_worker_is_poison_after_two_rescues_more(project, tmp_path):
    options(project, lease=2, max_crashes=2)
    mark = tmp_path / "mark"
    poison = tasks.kill_worker.enqueue(str(mark))
    for _ in range(2 + UNCOUNTED_RESCUES):
        with project.worker("--processes", "1") as worker:
            project.wait_for(lambda worker=worker: worker.process.poll() is not None, 30)
    with project.worker("--processes", "1"):
        finished(project, poison)
    assert (job(poison).status, job(poison).error_code) == ("FAILED", "POISON")
    assert outcomes(poison) == ["rescued"] * UNCOUNTED_RESCUES + ["lost"] * 2
    assert mark.read_text() == "ran\n" * (2 + UNCOUNTED_RESCUES)
    assert (job(poison).crashes, job(poison).rescues) == (2, UNCOUNTED_RESCUES)
