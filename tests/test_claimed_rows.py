"""A claimed job is declared once: columns, drivers and the pipe follow the names and types of its fields."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, ClaimedJob, storage_for
from django_tasks_q.storage.timestamps import microseconds
from django_tasks_q.storage.values import FLOATS, IDS, TIMESTAMPS
from django_tasks_q.worker.children import protocol


def names(places):
    return [ClaimedJob._fields[place] for place in places]


@pytest.mark.once
def test_the_types_of_the_fields_say_how_they_are_converted():
    assert names(IDS) == ["id"]
    assert names(FLOATS) == ["timeout"]
    assert names(TIMESTAMPS) == ["enqueued_at", "last_attempted_at", "expires_at", "run_after"]
    assert set(ClaimedJob._fields) <= {field.name for field in Job._meta.concrete_fields}


@pytest.mark.parametrize("optional", [False, True])
def test_every_field_comes_from_its_column_and_through_the_pipe(storage_alias, optional):
    """No two values are alike, so that none can stand in the place of another."""
    now = timezone.now()
    times = {"run_after": now - timedelta(seconds=1), "expires_at": now + timedelta(hours=1)}
    given = {"timeout": 5.0, "metadata": '{"m":1}', **times}
    job = Job(
        id=uuid7(), task_name="a", queue_name="q", backend="default", priority=7, arguments="[[2],{}]",
        options='{"o":3}', max_attempts=11, fence=13, attempts=17, crashes=19, rescues=23,
        worker_id=uuid.uuid4(), enqueued_at=now - timedelta(seconds=9), **({} if optional else given),
    )  # fmt: skip
    Job.objects.using(storage_alias).bulk_create([job])
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"])
    (claimed,) = storage_for(storage_alias).jobs.claim(claim, 10)
    stored = Job.objects.using(storage_alias).get(id=job.id)
    for place, name in enumerate(ClaimedJob._fields):
        value = getattr(stored, name)
        expected = microseconds(value) if place in TIMESTAMPS and value is not None else value
        assert (claimed[place], type(claimed[place])) == (expected, type(expected)), name
        assert claimed.columns[name] == value
    assert protocol.unpack_jobs(protocol.pack_jobs([claimed, claimed], 1)) == (1, [claimed, claimed])
    assert [claimed] == list(map(ClaimedJob.of, [[getattr(stored, name) for name in ClaimedJob._fields]]))
