"""Which jobs may be claimed, and in which order: one condition, one order, whoever asks."""

import itertools
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.models.job import CLAIM_ORDER
from django_tasks_q.storage import Claim, claimable, storage_for
from django_tasks_q.storage.orm.clock import DatabaseNow
from django_tasks_q.storage.postgresql import statements

QUEUES = ("q1", "q2", "q3")
CLAIMS = [
    {},
    {"queues": ("q1",)},
    {"queues": ("q1", "q2")},
    {"queues": ("q1", "q2"), "exclude_queues": ("q2",)},
    {"exclude_queues": ("q3",)},
    {"exclude_queues": ("q1", "q2", "q3")},
    {"task_names": ()},
]


def claim_of(**values):
    return Claim(**{"worker_id": uuid.uuid4(), "backend": "default", "task_names": ("a", "b"), **values})


@pytest.fixture
def filled(storage_alias):
    """A storage with a job of every combination of what a claim asks for."""
    now = timezone.now()
    hour = timedelta(hours=1)
    grid = itertools.product(
        JobStatus, ("default", "other"), ("a", "unknown"), QUEUES, (None, now - hour, now + hour), (0, 7)
    )
    jobs = [
        Job(
            id=uuid7(), status=status, backend=backend, task_name=task, queue_name=queue, expires_at=expires,
            priority=priority, arguments="[[],{}]", enqueued_at=now,
        )
        for status, backend, task, queue, expires, priority in grid
    ]  # fmt: skip
    Job.objects.using(storage_alias).bulk_create(jobs)
    storage = storage_for(storage_alias)
    return storage, jobs


def expected(jobs, claim):
    """What a claim is to get, in its order, said once more in plain Python."""
    now = timezone.now()
    fit = [
        job
        for job in jobs
        if job.status == "READY"
        and job.backend == claim.backend
        and job.task_name in claim.task_names
        and (job.expires_at is None or job.expires_at > now)
        and claimable.serves(job.queue_name, claim.queues, claim.exclude_queues)
    ]
    return [job.id for job in sorted(fit, key=lambda job: (-job.priority, job.id))]


@pytest.mark.parametrize("values", CLAIMS, ids=str)
def test_who_asks_gets_the_same_jobs_in_the_same_order(filled, values):
    storage, jobs = filled
    claim = claim_of(**values)
    wanted = expected(jobs, claim)
    ready = Job.objects.using(storage.alias).filter(status=JobStatus.READY)
    fit = ready.filter(claimable.condition(claim, DatabaseNow())).in_claim_order()
    assert list(fit.values_list("id", flat=True)) == wanted
    assert storage.jobs.has_ready(claim) is storage.jobs.has_work(claim) is bool(wanted)
    assert [job.id for job in storage.jobs.claim(claim, len(jobs))] == wanted


def test_the_condition_in_sql_is_that_of_the_orm(filled):
    storage, _ = filled
    if storage.alias != "postgres":
        pytest.skip("other databases have no statement of their own for it")
    claim = claim_of()
    ready = Job.objects.using(storage.alias).filter(status=JobStatus.READY)
    wanted = ready.filter(claimable.condition(claim, DatabaseNow())).in_claim_order()
    sql = f"SELECT id FROM {Job._meta.db_table} WHERE {claimable.CONDITION} ORDER BY {claimable.ORDER}"
    with connections[storage.alias].cursor() as cursor:
        cursor.execute(sql, {"backend": claim.backend, "names": list(claim.task_names)})
        assert [id for (id,) in cursor.fetchall()] == list(wanted.values_list("id", flat=True)) != []


@pytest.mark.once
def test_indexes_and_statements_have_the_order_and_the_condition_of_a_claim():
    indexes = {index.name: index.fields for index in Job._meta.indexes}
    for name in ("dtq_job_ready", "dtq_job_ready_in_queue"):
        assert tuple(indexes[name][-len(CLAIM_ORDER) :]) == CLAIM_ORDER
    for name in ("CLAIM", "CLAIM_ON", "CLAIM_OF_QUEUE", "CLAIM_OF_QUEUES", "CLAIM_OF_OTHERS"):
        text = getattr(statements, name)
        assert claimable.CONDITION in text
        assert f"{claimable.ORDER}\n" in text
        assert "<" not in text.replace("<> ALL", "")
