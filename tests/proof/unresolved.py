"""What does not hold yet. Not collected: ``python -m pytest tests/proof/unresolved.py`` shows it."""

import json

from django.db import transaction

from django_tasks_q.models import Attempt, Job

from ..faults.nursery import nursery
from ..faults.tasks import slow
from ..project import wait_for
from .audit import audited
from .test_races import ALIAS, ONE, Second, pytestmark, rescuing, storage, take, worker

__all__ = ["pytestmark", "storage"]


def test_a_lease_is_not_renewed_by_a_heartbeat_that_began_before_its_end(storage):
    """Its jobs are another's by the time it is written, so it must not be told that they are its own."""
    worker(storage, 0.5)
    job = take(storage)
    with transaction.atomic(using=ALIAS):
        alive = storage.heartbeat(ONE, 60.0)
        found = wait_for(lambda: Second(lambda: storage.lost("default")).result())
        rescue = Second(rescuing(storage, job))
        rescue.thread.join(20)
    assert [lost.id for lost in found] == [job.id]
    assert not (alive and rescue.result()), "renewed, and rescued as well"


def test_children_that_the_own_lease_has_killed_are_no_crashes_of_their_jobs(project, tmp_path):
    """A renewal is answered after the children were killed for want of it, and before the lease has ended.

    The worker goes on as if nothing were, and takes their deaths for crashes of what they ran.
    """
    env = project.env | {
        "EXTRA_APPS": '["tests.faults"]',
        "TASKS_OPTIONS": json.dumps({"LEASE": 6}),
        "FAULT_SECONDS": "4.75",  # renewed after 1, killed after 5.5, over after 6
    }
    points = {"FAILPOINTS": "heartbeat.sending=sleep", "FAILPOINT_MARKS": str(tmp_path)}
    slow.enqueue(8.0)
    with audited(project.alias), nursery(env, tmp_path) as forks:
        forks.worker("--processes", "1", env=points)
        wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").exists(), 60)
        assert "crashed" not in Attempt.objects.values_list("outcome", flat=True)
