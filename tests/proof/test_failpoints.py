"""Every fault at every step of a job's way, by real processes: what is promised then is what happens."""

import json

import pytest
from django.db import connections

from django_tasks_q.models import Attempt, Job

from ..faults.nursery import nursery
from ..faults.tasks import slow
from ..project import wait_for
from .audit import audited
from .invariants import Rules, violations
from .scenes import waves
from .stage import Stage

pytestmark = pytest.mark.any_version  # the steps at which faults happen are the package's

#: Short, so that a rescue is soon; on a busy machine a shorter one would be lost for no fault of the scene.
LEASE = 4
EFFECTFUL = [f"tests.faults.tasks.{name}" for name in ("quick", "once", "slow", "overrun")]

WAVES = ["running", "ending", "keeping", "marking", "slowed", "ended"]


@pytest.mark.parametrize("wave", range(6), ids=WAVES)
def test_every_fault_at_every_step_ends_as_promised(project, tmp_path, wave):
    if (project.alias, wave) == ("mariadb", 0):
        pytest.skip("its ids have an order of their own, so it is not the first job that meets the fault")
    scenes = [
        scene
        for scene in list(waves())[wave]
        if connections[project.alias].vendor == "postgresql" or not scene.needs_server
    ]
    env = project.env | {
        "EXTRA_APPS": '["tests.faults"]',
        "TASKS_OPTIONS": json.dumps({"LEASE": LEASE, "GRACE": 0.5}),
    }
    if not scenes:
        pytest.skip("nothing of this can happen to a database in a file")
    with audited(project.alias), nursery(env, tmp_path) as forks:
        problems = Stage(project.alias, tmp_path, forks).play(scenes)
        problems += violations(project.alias, Rules(effectful=EFFECTFUL))
        assert problems == []


def test_children_that_the_own_lease_has_killed_are_no_crashes_of_their_jobs(project, tmp_path):
    """A renewal is answered after the children were killed for want of it, and before the lease has ended.

    The worker goes on as if nothing were, and takes their deaths for crashes of what they ran.
    """
    if project.alias != "default":
        pytest.skip("the database plays no part in it")
    env = project.env | {
        "EXTRA_APPS": '["tests.faults"]',
        "TASKS_OPTIONS": json.dumps({"LEASE": 6}),
        "FAULT_SECONDS": "4.75",  # renewed after 1, killed after 5.5, over after 6
    }
    points = {"FAILPOINTS": "heartbeat.sending=sleep", "FAILPOINT_MARKS": str(tmp_path)}
    slow.enqueue(6.0)
    with audited(project.alias), nursery(env, tmp_path) as forks:
        forks.worker("--processes", "1", env=points)
        wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").exists(), 60)
        assert "crashed" not in Attempt.objects.values_list("outcome", flat=True)
