"""An expired job is never started, and its end is noticed when it expires."""

import contextvars
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_tasks_q.exceptions import JobFailed
from django_tasks_q.execution.control import Control
from django_tasks_q.execution.runner import Runner
from django_tasks_q.execution.sync_threads import SyncThreads
from django_tasks_q.lifecycle.outcome import AttemptOutcome
from django_tasks_q.maintenance.promote import promote
from django_tasks_q.models import Job
from django_tasks_q.storage.timestamps import boot_time, microseconds
from django_tasks_q.worker.subscribers.waiters import WaiterNotifications

from .tasksapp import tasks
from .tasksapp.models import Effect
from .test_pool import children, claimed, fed, pool  # noqa: F401
from .test_storage import add, claim, row, storage, success  # noqa: F401
from .test_worker import finished, job

SECOND = timedelta(seconds=1)


# In the table


@pytest.mark.parametrize("status", ["READY", "SCHEDULED", "RUNNING", "SUCCESSFUL"])
@pytest.mark.parametrize(("seconds", "is_near"), [(-90, False), (-30, True), (8, True), (30, False)])
def test_the_next_expiry_is_that_of_a_waiting_job(storage, status, seconds, is_near):  # noqa: F811
    values = {"status": status, "run_after": timezone.now() + timedelta(hours=1)}
    add(storage, expires_at=timezone.now() + timedelta(seconds=seconds), **values)
    add(storage, expires_at=timezone.now() + timedelta(seconds=seconds + 1), **values)
    add(storage, expires_at=timezone.now() + SECOND, backend="other")
    start, expiry = storage.maintenance.next_due("default")
    assert (start is not None) == (status == "SCHEDULED")
    if is_near and status in ("READY", "SCHEDULED"):
        assert expiry == pytest.approx(seconds, abs=2)
    else:
        assert expiry is None


def test_what_has_expired_is_not_promoted_and_the_next_is_known(storage):  # noqa: F811
    now = timezone.now()
    late = add(storage, status="SCHEDULED", run_after=now - SECOND, expires_at=now - SECOND / 2)
    far = add(storage, status="SCHEDULED", run_after=now + timedelta(hours=1), expires_at=now - SECOND / 2)
    due = add(storage, status="SCHEDULED", run_after=now - SECOND)
    add(storage, expires_at=now + 9 * SECOND)
    found = promote(storage, "default")
    assert (set(found.expired), found.ready) == ({late.id, far.id}, 1)
    assert row(storage, due).status == "READY"
    assert found.due == pytest.approx(9, abs=2)
    assert promote(storage, "default")[:2] == (0, [])


def test_without_expiry_a_look_is_one_statement(storage, django_assert_num_queries):  # noqa: F811
    add(storage)
    with django_assert_num_queries(1, using=storage.alias):
        assert promote(storage, "default") == (0, [], None)


# In the supervisor


def test_the_supervisor_wakes_when_a_job_of_the_backlog_expires(pool, children):  # noqa: F811
    for child in children:
        child.parent_side.ready = False
    now = microseconds(timezone.now())
    pool.clock.set(now, boot_time())
    pool.add([claimed(expires_at=now + 2 * 10**6), claimed(expires_at=now + 10**6), claimed()])
    assert 0.5 < pool.deadline() <= 1.0
    assert pool.feed() == []
    pool.clock.set(now + 1_500_000, boot_time())
    assert len(pool.feed()) == 1
    assert pool.deadline() <= 0.5


def test_waiters_hear_of_jobs_that_were_not_held_when_they_asked():
    sent = []

    class Sender:
        def notify_ended(self, backend, ids):
            sent.append(set(ids))

    class Storage:
        notifications = Sender()

    held, other = uuid.uuid4(), uuid.uuid4()
    waiters = WaiterNotifications(Storage(), "default")
    waiters.remember([held, other], {held})
    waiters.notify()
    # It may have ended before, and it may end later.
    assert sent == [{other}]
    waiters.ended([uuid.uuid4(), other])
    waiters.notify()
    assert sent == [{other}, {other}]
    waiters.ended([held])
    waiters.notify()
    assert (sent[2:], waiters.are_waited_for) == ([{held}], False)


# In a child


class Dawdling(Control):
    """Lets the time pass up to the last moment before the task's code, as a transaction or a loop may."""

    def begin(self):
        super().begin()
        self.runner.clock.use_offset(self.runner.clock.offset + 10 * 10**6)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("how", ["plain", "atomic", "coroutine", "loop"])
def test_time_that_passes_before_the_first_instruction_counts(how, late):
    task = {"atomic": tasks.leave_atomically, "coroutine": tasks.leave_async, "loop": tasks.leave_async}.get(
        how, tasks.leave
    )
    Job.objects.all().delete()
    now = microseconds(timezone.now())
    expires_at = now + (5 if late else 60) * 10**6
    attempt = claimed(task_name=task.name, arguments='[["key"],{}]', expires_at=expires_at)
    runner = Runner(task.get_backend(), str(uuid.uuid4()))
    runner.clock.set(now, boot_time())
    control = Dawdling()
    control.runner = runner
    if how == "loop":
        # In a context of its own, as a worker's tasks are: async_to_sync() takes over what a coroutine sets.
        context = contextvars.copy_context()
        outcome = context.run(async_to_sync(runner.arun), attempt, control, SyncThreads())
    else:
        outcome = runner.run(attempt, control)
    if late:
        assert (outcome.kind, outcome.duration) == (AttemptOutcome.RELEASED, None)
        assert not Effect.objects.exists()
    else:
        assert outcome.kind is not AttemptOutcome.RELEASED


# In workers


def test_an_idle_worker_notices_an_expiry_at_once(project):
    """Whatever keeps a job from being started: an unknown task, another queue, or a start that lies ahead."""
    with project.worker("--processes", "1", "--queue", "default"):
        finished(project, tasks.noop.enqueue())
        expires_at = timezone.now() + 2 * SECOND
        late = [
            tasks.noop.using(
                expires_at=expires_at + number * SECOND / 4,
                queue_name="default" if number % 2 else "other",
                run_after=timedelta(hours=1) if number % 2 else None,
            ).enqueue()
            for number in range(6)
        ]
        with pytest.raises(JobFailed, match="JobExpired"):
            late[0].get(timeout=20)
        heard = timezone.now()
        finished(project, *late)
    delays = sorted((job(one).finished_at - job(one).expires_at).total_seconds() for one in late)
    assert min(delays) >= 0
    # A busy machine may be late now and then.
    assert delays[2] < 0.1, delays
    assert (heard - job(late[0]).expires_at).total_seconds() < 1.0
