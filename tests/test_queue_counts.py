"""What is counted of each queue, beside many jobs of others."""

from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q.models import Job
from django_tasks_q.storage import storage_for
from django_tasks_q.storage.orm import queue_counts
from django_tasks_q.storage.orm.counting import Count

NOW = timezone.now().replace(microsecond=0)


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def fill(alias, *kinds):
    """Jobs of each kind, which is a number and the values of the columns."""
    jobs = []
    for number, values in kinds:
        for _ in range(number):
            shared = {"backend": "default", "queue_name": "q", "status": "READY", "enqueued_at": NOW}
            jobs.append(Job(task_name="a", arguments="[[],{}]", **{**shared, **values}))
    Job.objects.using(alias).bulk_create(jobs, batch_size=1000)


def numbers(found):
    return (found.ready.number, found.scheduled.number, found.running.number)


def test_every_queue_is_found_and_counted(storage):
    fill(
        storage.alias,
        (30, {"queue_name": "emails", "priority": 5}),
        (2, {"queue_name": "quiet"}),
        (4, {"queue_name": "later", "status": "SCHEDULED", "run_after": NOW}),
        (3, {"queue_name": "busy", "status": "RUNNING"}),
        (1, {"queue_name": "busy", "status": "SCHEDULED", "run_after": NOW}),
        (5, {"queue_name": "ended", "status": "SUCCESSFUL"}),
        (1, {"queue_name": "quiet", "backend": "other"}),
        (1, {"queue_name": "ü % {x} '"}),
    )
    queues = storage.queues.busy()
    assert queues == [
        ("default", "busy"),
        ("default", "emails"),
        ("default", "later"),
        ("default", "quiet"),
        ("default", "ü % {x} '"),
        ("other", "quiet"),
    ]
    assert storage.queues.busy("other") == [("other", "quiet")]
    assert storage.queues.busy("none") == []
    counted = storage.queues.count([*queues, ("default", "ended"), ("nobody", "knows")])
    assert {queue: numbers(found) for queue, found in counted.items()} == {
        ("default", "busy"): (0, 1, 3),
        ("default", "emails"): (30, 0, 0),
        ("default", "ended"): (0, 0, 0),
        ("default", "later"): (0, 4, 0),
        ("default", "quiet"): (2, 0, 0),
        ("default", "ü % {x} '"): (1, 0, 0),
        ("nobody", "knows"): (0, 0, 0),
        ("other", "quiet"): (1, 0, 0),
    }
    assert storage.queues.count([]) == {}


def test_counts_stop_at_the_cap(storage):
    fill(storage.alias, (7, {}), (9, {"status": "SCHEDULED", "run_after": NOW}), (5, {"queue_name": "p"}))
    counted = storage.queues.count([("default", "q"), ("default", "p")], cap=5)
    assert counted["default", "q"][:2] == (Count(5, True, None), Count(5, True, None))
    assert counted["default", "p"].ready == Count(5, False, None)


def test_the_longest_waiting_job_is_found_whatever_its_priority(storage):
    """A claim's order puts it last; and a job that was retried has waited since then, however old it is."""
    old = NOW - timedelta(days=30)
    fill(
        storage.alias,
        (3, {"priority": 9, "enqueued_at": old, "run_after": NOW}),  # retried just now
        (1, {"priority": 9, "enqueued_at": NOW - timedelta(minutes=1)}),
        (4, {"priority": 0, "enqueued_at": NOW}),
        (1, {"priority": -5, "enqueued_at": NOW - timedelta(hours=2)}),
        (1, {"queue_name": "p", "enqueued_at": old, "run_after": NOW - timedelta(minutes=3)}),
    )
    counted = storage.queues.count(storage.queues.busy())
    assert counted["default", "q"].ready_since == NOW - timedelta(hours=2)
    assert counted["default", "p"].ready_since == NOW - timedelta(minutes=3)
    assert storage.queues.count([("default", "none")])["default", "none"].ready_since is None


def test_who_may_see_few_jobs_is_told_of_no_others(storage):
    fill(storage.alias, (3, {"metadata": "mine"}), (4, {}), (2, {"status": "RUNNING"}))
    jobs = Job.objects.using(storage.alias).filter(metadata="mine")
    counted = storage.queues.count([("default", "q"), ("default", "p")], jobs)
    assert {queue: numbers(found) for queue, found in counted.items()} == {
        ("default", "p"): (0, 0, 0),
        ("default", "q"): (3, 0, 0),
    }
    assert counted["default", "q"].ready_since == NOW


def test_thousands_of_queues_take_few_statements(storage, monkeypatch):
    monkeypatch.setattr(queue_counts, "BUDGET", 3000)
    monkeypatch.setattr(queue_counts, "LEAST_CAP", 2)
    fill(
        storage.alias,
        *((1, {"queue_name": f"q{number:04}"}) for number in range(3000)),
        (4, {"queue_name": "q0007"}),
    )
    with CaptureQueriesContext(connections[storage.alias]) as queries:
        queues = storage.queues.busy()
        counted = storage.queues.count(queues)
    assert len(counted) == 3000
    assert {numbers(found)[0] for queue, found in counted.items() if queue[1] != "q0007"} == {1}
    assert counted["default", "q0007"].ready == Count(2, True, None)
    assert len(queries) < (12 if storage.queues.queue_source else 100)
