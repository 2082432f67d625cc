"""A short run of kills; ``make kills`` makes a long one."""

import pytest

from ..faults import tasks
from .chaos import random_seed
from .kills import Kills, plan

pytestmark = pytest.mark.any_version


def test_workers_that_are_killed_fail_only_jobs_that_had_been_given_to_a_child(project, tmp_path):
    tasks.kill_worker.enqueue()
    kills = Kills(project.alias, tmp_path)
    report = kills.run(project.env, plan(kills=6, seconds=6.0, seed=random_seed()))
    print(report, kills, sep="\n")
    assert report.problems == [], report
    assert report.statuses["SUCCESSFUL"] > 20
    assert report.outcomes["rescued"] > 0
