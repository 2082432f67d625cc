"""Every fault at every step of a job's way, by real processes: what is promised then is what happens."""

import json

import pytest
from django.db import connections

from ..faults.nursery import nursery
from .audit import audited
from .invariants import Rules, violations
from .scenes import waves
from .stage import Stage

#: Short, so that a rescue is soon; on a busy machine a shorter one would be lost for no fault of the scene.
LEASE = 4
EFFECTFUL = [f"tests.faults.tasks.{name}" for name in ("quick", "slow", "overrun")]


@pytest.mark.parametrize("wave", range(len(list(waves()))), ids=["running", "ending", "keeping"])
def test_every_fault_at_every_step_ends_as_promised(project, tmp_path, wave):
    scenes = [
        scene
        for scene in list(waves())[wave]
        if connections[project.alias].vendor == "postgresql" or not scene.needs_server
    ]
    env = project.env | {
        "EXTRA_APPS": '["tests.faults"]',
        "TASKS_OPTIONS": json.dumps({"LEASE": LEASE, "GRACE": 0.5}),
    }
    with audited(project.alias), nursery(env, tmp_path) as forks:
        problems = Stage(project.alias, tmp_path, forks).play(scenes)
        problems += violations(project.alias, Rules(effectful=EFFECTFUL))
        assert problems == []
