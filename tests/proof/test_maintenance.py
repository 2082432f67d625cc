"""The maintenance that workers share, by many at once, and while the database ends their sessions."""

import json
import random
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_tasks_q.actions import cancel
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Job, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for

from ..faults import tasks
from ..test_connections import deadlocks
from ..test_storage import in_threads
from .audit import audited
from .invariants import Rules, violations

pytestmark = pytest.mark.any_version  # a search for orders of statements

JOBS = 1000


def test_promotions_and_expiries_by_many_neither_deadlock_nor_lose(audit):
    if connections[audit].vendor == "mysql":
        pytest.skip("the audit's own triggers are not up to so many sessions there")
    storage, before = storage_for(audit), deadlocks(audit)
    Job.objects.using(storage.alias).bulk_create([waiting(number) for number in range(JOBS)])
    chance, found = random.Random(1), threading.Lock()
    promoted, expired = [], []

    def persist(verb):
        while Job.objects.using(audit).exclude(status__in=FINAL).exists():
            try:
                verb()
            except OperationalError as error:
                if not storage.session.is_busy(error):
                    raise

    def work():
        jobs = storage.jobs.claim(Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"]), 10)
        chance.shuffle(jobs)
        storage.jobs.finish([ending(job) for job in jobs])

    def promote():
        count = storage.maintenance.promote("default", 50)
        with found:
            promoted.append(count)

    def expire():
        ids = storage.maintenance.expire("default", 50)
        with found:
            expired.extend(ids)

    def change_mind():
        ids = Job.objects.using(audit).exclude(status__in=FINAL).values_list("id", flat=True)
        if ids := list(ids[:200]):
            cancel(chance.sample(ids, min(3, len(ids))), using=audit)

    verbs = [work, work, promote, promote, expire, expire, expire, change_mind]
    in_threads(len(verbs), lambda number: persist(verbs[number]))
    assert violations(audit, Rules(settled=True)) == []
    assert deadlocks(audit) == before
    ended = set(Job.objects.using(audit).filter(status="EXPIRED").values_list("id", flat=True))
    assert Job.objects.using(audit).count() == JOBS
    assert sum(promoted)
    # Each is reported once, by the call that ended it: receivers of its end depend on that.
    assert sorted(expired) == sorted(ended)
    assert ended


def waiting(number):
    """Some are due now and some soon, and a third must not be started for long any more."""
    now = timezone.now()
    soon = now + timedelta(seconds=number / JOBS)
    return Job(
        id=uuid7(), task_name="a", queue_name="d", backend="default", arguments="[[],{}]", enqueued_at=now,
        max_attempts=3, status="SCHEDULED" if number % 2 else "READY", run_after=soon if number % 2 else None,
        expires_at=now + timedelta(seconds=number / JOBS / 2) if number % 3 == 0 else None,
    )  # fmt: skip


def ending(job):
    """A success at last; before that, for some of them, another try later."""
    if job.fence < 3 and job.id.int % 4 == 0:
        return Outcome.failed(job.id, job.fence, Failure("X", "a.B", "", ""), 0.01, 0.1)
    return Outcome.successful(job.id, job.fence, "1", 0.1)


#: What a session is in the middle of when the server ends it, as a trigger sees it.
MOVES = {
    "claim": ("UPDATE", "OLD.status = 'READY' AND NEW.status = 'RUNNING'"),
    "success": ("UPDATE", "OLD.status = 'RUNNING' AND NEW.status = 'SUCCESSFUL'"),
    "retry": ("UPDATE", "OLD.status = 'RUNNING' AND NEW.status = 'SCHEDULED'"),
    "promote": ("UPDATE", "OLD.status = 'SCHEDULED' AND NEW.status = 'READY'"),
    "expire": ("UPDATE", "NEW.status = 'EXPIRED'"),
    "rescue": ("UPDATE", "OLD.status = 'RUNNING' AND NEW.status = 'READY'"),
    "prune": ("DELETE", "OLD.status = 'SUCCESSFUL'"),
    "renewal": ("UPDATE", "OLD.lease_expires_at < NEW.lease_expires_at"),
}

FATAL = """
CREATE SEQUENCE proof_{name};
CREATE FUNCTION proof_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    -- A sequence remembers what a lost transaction has done.
    IF nextval('proof_{name}') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER proof_{name} AFTER {event} ON {table} FOR EACH ROW WHEN ({when})
    EXECUTE FUNCTION proof_{name}();
"""


@pytest.fixture
def fatal(project):
    """Has each kind of write cost its session the first time. Then it says which were tried again."""
    if project.alias != "postgres":
        pytest.skip("only PostgreSQL ends sessions from within")
    cursor = connections["postgres"].cursor()

    def table(name):
        return (Worker if name == "renewal" else Job)._meta.db_table

    def survived():
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}', last_value FROM proof_{name}" for name in MOVES))
        return {name for name, count in cursor.fetchall() if count > 1}

    def drop():
        for name in MOVES:
            cursor.execute(f"DROP TRIGGER IF EXISTS proof_{name} ON {table(name)}")
            cursor.execute(f"DROP FUNCTION IF EXISTS proof_{name}")
            cursor.execute(f"DROP SEQUENCE IF EXISTS proof_{name}")

    def arm():
        for name, (event, when) in MOVES.items():
            cursor.execute(FATAL.format(name=name, event=event, when=when, table=table(name)))
        return survived

    drop()
    yield arm
    drop()
    cursor.close()


def test_a_session_that_the_server_ends_in_the_middle_of_a_write_costs_nothing(project, fatal):
    project.env["EXTRA_APPS"] = '["tests.faults", "tests.hardship"]'
    intervals = dict.fromkeys(("expire", "rescue", "prune"), 0.3)
    project.env["HARDSHIP"] = json.dumps({"intervals": intervals})
    project.env["TASKS_OPTIONS"] = json.dumps({"LEASE": 6})
    with audited("postgres"):
        for _ in range(20):
            tasks.quick.enqueue()
            tasks.quick.using(run_after=timedelta(seconds=1)).enqueue()
            tasks.quick.using(expires_at=timedelta(seconds=0.01)).enqueue()
            tasks.fail_until.enqueue(2)
        lost = left_by_another(status="RUNNING")
        old = [
            left_by_another(status="SUCCESSFUL", finished_at=timezone.now() - timedelta(days=30))
            for _ in range(2)
        ]
        survived = fatal()
        with project.worker("--processes", "2") as worker:

            def is_over():
                return not Job.objects.exclude(status__in=FINAL).exists() and survived() >= {*MOVES} - {
                    "prune"
                }

            project.wait_for(is_over, 30)
            project.wait_for(lambda: not Job.objects.filter(id__in=old).exists())
            assert "lost its lease" not in worker.output
            assert worker.stop() == 0
        assert worker.output.count("cannot be used") >= 1
        assert violations("postgres", Rules(effectful=[tasks.quick.name, tasks.fail_until.name])) == []
    assert Worker.objects.count() == 1
    assert {job.id for job in Job.objects.exclude(rescues=0)} == {lost}
    assert not Job.objects.exclude(crashes=0).exists()


def left_by_another(**values):
    """A job that had a worker, of which nothing is known any more. By allowed moves, for the audit to see."""
    past = timezone.now() - timedelta(days=30)
    job = Job(
        task_name=tasks.quick.name, queue_name="default", backend="default", arguments="[[],{}]",
        max_attempts=5, enqueued_at=past,
    )  # fmt: skip
    with transaction.atomic(using="postgres"):
        job.save(using="postgres", force_insert=True)
        row = Job.objects.filter(id=job.id)
        run = {"started_at": past, "last_attempted_at": past, "worker_id": uuid7()}
        row.update(status="RUNNING", fence=1, attempts=1, **run)
        if values["status"] != "RUNNING":
            row.update(**values)
    return job.id
