"""Short runs of chaos, and the proof that it would notice if a protection were missing."""

import os

import pytest

from ..conftest import on_one_database
from .chaos import Chaos, Plan, random_seed

pytestmark = pytest.mark.any_version  # a search for orders of faults

#: Seconds of faults on each kind of database, and what they are multiplied by.
SECONDS = {"postgresql": 12.0, "sqlite": 5.0}
SCALE = float(os.environ.get("CHAOS_SECONDS", "25")) / 25


def test_chaos_breaks_no_rule(project, tmp_path):
    from django.db import connections

    seconds = SECONDS.get(connections[project.alias].vendor, 5.0) * SCALE
    plan = Plan(seconds=seconds, seed=random_seed())
    report = Chaos(project.alias, project.env, tmp_path, plan).run()
    print(report)
    assert report.problems == [], report
    assert report.statuses["SUCCESSFUL"] > 20


@pytest.mark.once  # that the one above can fail
@on_one_database
@pytest.mark.parametrize(("guard", "max_crashes"), [("fence", 100), ("state", 1)])
def test_chaos_finds_what_a_missing_guard_lets_through(project, tmp_path, guard, max_crashes):
    """Without the fence, a worker that was frozen ends the run of the next one.

    The state matters where the fence has not moved on: here because the loss of a worker is the last one
    that a job survives.
    """
    plan = Plan(
        seconds=25.0, seed=random_seed(), mix="long", faults="freezes", pause=0.3, per_second=8.0, lease=2.0,
        max_crashes=max_crashes, without=(guard, "lease"),
    )  # fmt: skip
    report = Chaos(project.alias, project.env, tmp_path, plan).run(until_first=True)
    print(report)
    assert {text.split()[0] for text in report.problems} & {"I3", "I4", "I5"}, report
