"""Every order in which two workers and a rescuer can meet over one job: 12! / (4! 4! 4!) of them."""

import uuid
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.exceptions import WorkerLost
from django_tasks_q.execution.endings import by_rescue
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for

from ..conftest import on_one_database
from ..faults.mutations import without
from .audit import leave_effect
from .explorer import Actor, Explorer
from .invariants import Rules, violations

pytestmark = pytest.mark.any_version  # a search for orders of statements

ORDERS = 34_650
ONE, TWO, RESCUER = (uuid.UUID(int=number) for number in (1, 2, 3))
RULES = Rules(effectful=["a"], max_crashes=100)


class Protocol:
    """The steps, as the worker takes them, of actors that are frozen for any time between any two."""

    def __init__(self, alias):
        self.alias = alias
        self.storage = storage_for(alias)
        Job.objects.using(self.storage.alias).bulk_create(
            [
                Job(
                    id=uuid7(), task_name="a", queue_name="default", backend="default",
                    arguments="[[],{}]", enqueued_at=timezone.now(),
                )
            ]
        )  # fmt: skip
        for worker_id in (ONE, TWO, RESCUER):
            self.register(worker_id)

    def register(self, worker_id):
        worker = Worker(id=worker_id, name="w", hostname="h", pid=1, backend="default", version="1")
        worker.processes = 1
        self.storage.workers.register(worker, 3600.0)

    def claim(self, worker_id):
        jobs = self.storage.jobs.claim(Claim(worker_id=worker_id, backend="default", task_names=["a"]), 1)
        return (jobs[0].id, jobs[0].fence) if jobs else None

    def finish(self, outcome):
        # Without its guards a write may still meet the constraint on the records of attempts, which
        # refuses some of what they would have refused.
        with suppress(IntegrityError), transaction.atomic(using=self.alias):
            self.storage.jobs.finish([outcome])

    def succeed(self, held):
        self.finish(Outcome.successful(*held, f'{{"fence":{held[1]}}}', 0.1))

    def worker(self, worker_id):
        """It is never told that it has lost its job, or does not look: that is what the fence is for."""

        def claim(_):
            return self.claim(worker_id)

        def work(held):
            # The first worker marks its attempts, and a child begins none that cannot be marked.
            if held and (worker_id != ONE or self.storage.jobs.mark_begun([held])):
                leave_effect(self.alias, *held)
                self.storage.workers.heartbeat(worker_id, 3600.0)
            return held

        def finish(held):
            if held:
                self.succeed(held)
            return held

        def finish_again(held):
            """As after an answer that was lost, or by a parent that saw its child die afterwards."""
            if held:
                failure = Failure("CODE", "a.B", "late", "")
                self.finish(Outcome.failed(*held, failure, None, 0.1))
            return

        return [claim, work, finish, finish_again]

    def giver(self, worker_id):
        """It is told to stop before it starts the job, and gives it back twice for want of an answer."""

        def release(held):
            if held:
                self.finish(Outcome.released(*held))
            return held

        claim = self.worker(worker_id)[0]
        return [claim, lambda held: held, release, release]

    def rescuer(self):
        def expire(_):
            past = timezone.now() - timedelta(seconds=1)
            workers = Worker.objects.using(self.alias).filter(id__in=(ONE, TWO))
            workers.update(lease_expires_at=past)

        def select(_):
            return tuple(self.storage.maintenance.lost("default"))

        def write(lost):
            for job in lost:
                self.finish(by_rescue(job, Options(max_crashes=10), WorkerLost("gone")))

        def run(_):
            if held := self.claim(RESCUER):
                leave_effect(self.alias, *held)
                self.succeed(held)

        return [expire, select, write, run]

    def digest(self):
        on = self.alias
        job = Job.objects.using(on).values_list(
            "status", "fence", "attempts", "crashes", "rescues", "begun_fence", "result", "worker_id"
        )
        lives = Worker.objects.using(on).filter(lease_expires_at__gt=timezone.now())
        with connections[on].cursor() as cursor:
            cursor.execute("SELECT old_status, new_status, new_fence, owner FROM proof_audit ORDER BY seq")
            events = cursor.fetchall()
            cursor.execute("SELECT fence FROM proof_effect ORDER BY fence")
            effects = cursor.fetchall()
        attempts = Attempt.objects.using(on).values_list("fence", "outcome")
        return (*job, *lives.order_by("id").values_list("id"), *attempts, *events, *effects)

    def judge(self):
        """Let the faults stop, have a healthy worker do what is left, and ask the checker."""
        expire, select, write, run = self.rescuer()
        expire(None)
        write(select(None))
        run(None)
        found = violations(self.alias, RULES)
        found += [
            f"I2 it ended as {status}" for status in self._ends() if status not in ("SUCCESSFUL", "FAILED")
        ]
        return [text.partition(":")[0] for text in found]

    def _ends(self):
        return Job.objects.using(self.alias).values_list("status", flat=True)

    def explorer(self, second):
        """Of two workers and a rescuer; the second worker finishes the job, or gives it back."""
        actors = [
            Actor("A", self.worker(ONE)),
            Actor("B", self.worker(TWO) if second == "finishes" else self.giver(TWO)),
            Actor("R", self.rescuer()),
        ]
        return Explorer(self.alias, actors, self.digest, self.judge)


@pytest.mark.parametrize("second", ["finishes", "gives back"])
def test_no_order_of_steps_breaks_a_rule(audit, second):
    explorer = Protocol(audit).explorer(second)
    assert explorer.run() == ORDERS
    assert explorer.problems == {}


@pytest.mark.once  # that the one above can fail
@on_one_database
@pytest.mark.parametrize(
    ("guard", "second", "invariant"), [("fence", "gives back", "I6"), ("state", "finishes", "I3")]
)
def test_without_a_guard_some_order_breaks_a_rule(audit, guard, second, invariant):
    """The proof that the test above can fail.

    Without the fence, an attempt that has given its job back takes it from the next worker. What was taken
    by a rescuer is recorded, so there the constraint on those records would refuse the write: it stands
    behind the fence. Without the state, whoever still has the last fence writes over its ending:
    the worker itself, or a rescuer that found the job before.
    """
    with without(guard):
        explorer = Protocol(audit).explorer(second)
        assert explorer.run() == ORDERS
    assert any(problem.startswith(invariant) for problem in explorer.problems), explorer.problems
