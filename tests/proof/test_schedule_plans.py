"""What the statements on schedules cost beside many of them, by the plans that PostgreSQL makes."""

import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q.models import Firing, Schedule
from django_tasks_q.storage import KnownSchedules, storage_for
from django_tasks_q.storage.values import Decision

from .test_plans import ALIAS, DEAR, FILL, JOB, explained, indexes

SCHEDULE, FIRING = Schedule._meta.db_table, Firing._meta.db_table
SCHEDULES, TICKS, JOBS = 2000, 200_000, 20_000
KNOWN = KnownSchedules([f"s{number}" for number in range(1, SCHEDULES + 1)], ["a"])

#: One in a hundred is due, and what became of the ticks goes back for ten days.
FILL_SCHEDULES = f"""
INSERT INTO {SCHEDULE} (backend, name, origin, task_name, arguments, queue_name, priority, kind, expression,
                        timezone, missed, overlap, enabled, disabled_by, disable_reason, next_at)
SELECT 'default', 's' || number, 'database', 'a', '[[],{{}}]', 'default', 0, 'every', '60', 'UTC', 'one',
       'skip', true, '', '', NOW() + (number - %(due)s) * INTERVAL '1 minute'
FROM GENERATE_SERIES(1, %(rows)s) AS number
"""
FILL_FIRINGS = f"""
INSERT INTO {FIRING} (schedule_id, tick, outcome, job_id, reason, fired_at)
SELECT id, moment, 'fired', GEN_RANDOM_UUID(), '', moment
FROM GENERATE_SERIES(1, %(each)s) AS number, {SCHEDULE},
     LATERAL (SELECT NOW() - number * INTERVAL '10 days' / %(each)s AS moment) AS moments
"""


@pytest.fixture(scope="module")
def full(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        connection = connections[ALIAS]
        with connection.cursor() as cursor:
            cursor.execute(FILL_SCHEDULES, {"rows": SCHEDULES, "due": SCHEDULES // 100})
            cursor.execute(FILL_FIRINGS, {"each": TICKS // SCHEDULES})
            cursor.execute(FILL.format(job=JOB), {"rows": JOBS, "worker": uuid.uuid4()})
            cursor.execute(f"ANALYZE {SCHEDULE}, {FIRING}, {JOB}")
        yield connection
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {SCHEDULE}, {JOB} CASCADE")
            cursor.execute(f"ANALYZE {SCHEDULE}, {FIRING}, {JOB}")


@pytest.fixture
def storage(full):
    return storage_for(ALIAS)


pytestmark = pytest.mark.django_db(databases=[ALIAS])


def dear(plans):
    return [plan for plan in plans if plan["Node Type"] in DEAR and plan["Plan Rows"] > 100] + [
        plan for plan in plans if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] in (FIRING, JOB)
    ]


def test_the_next_tick_is_the_first_of_its_index(storage, full):
    with explained(full) as plans:
        assert storage.schedules.next_tick("default", KNOWN) < 0
    assert "dtq_schedule_next" in indexes(plans)
    assert dear(plans) == []


def test_a_firing_reads_what_is_due(storage, full):
    skip = Decision([], timezone.now() + timedelta(days=1))
    with explained(full) as plans:
        assert storage.schedules.fire("default", KNOWN, lambda *_: skip, lambda send: None) == []
    assert "dtq_schedule_next" in indexes(plans)
    assert dear(plans) == []


def test_orders_tell_when_the_next_is_due_from_the_index(storage, full):
    with explained(full) as plans:
        assert storage.queues.control("default", uuid.uuid4()).fires_in < 0
    assert "dtq_schedule_next" in indexes(plans)
    assert dear(plans) == []


def test_what_is_forgotten_is_found_by_its_age(storage, full):
    with explained(full) as plans:
        assert storage.schedules.forget_firings(timedelta(days=7).total_seconds(), 500) == 500
    assert dear(plans) == []
