"""What the statements cost on a full table, by the plans that PostgreSQL makes for them."""

import json
import re
import uuid
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q import actions
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import FINAL, JobStatus
from django_tasks_q.models import Attempt, Job, Queue, Worker
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.postgresql.prepared_session import PLANS

ALIAS = "postgres"
ROWS = 200_000
JOB = Job._meta.db_table

#: Nearly all have ended, many are scheduled for later, and a good number is ready, of mixed priorities.
FILL = """
INSERT INTO {job} (id, task_name, queue_name, backend, priority, status, run_after, arguments, options,
                   max_attempts, fence, attempts, crashes, worker_id, enqueued_at, finished_at, error_code)
SELECT GEN_RANDOM_UUID(), 'task' || number %% 20, 'queue' || number %% 7, 'default', number %% 5 - 2, status,
       NOW() + number * INTERVAL '1 second', '[[],{{}}]', '', 1, 1, 1, 0,
       CASE WHEN status = 'RUNNING' THEN %(worker)s::uuid END, NOW(),
       CASE WHEN status IN ('SUCCESSFUL', 'FAILED') THEN NOW() - number * INTERVAL '1 minute' END, ''
FROM (
    SELECT number, CASE WHEN number %% 10 < 2 THEN 'READY' WHEN number %% 10 < 4 THEN 'SCHEDULED'
                        WHEN number %% 1000 = 4 THEN 'RUNNING' WHEN number %% 10 = 5 THEN 'FAILED'
                        ELSE 'SUCCESSFUL' END AS status
    FROM GENERATE_SERIES(1, %(rows)s) AS number
) AS numbered
"""
#: Ways to read a table from one end to the other, or to put much in order.
DEAR = {"Seq Scan", "Sort", "Incremental Sort"}


@pytest.fixture(scope="module")
def full(django_db_setup, django_db_blocker):
    """A full table, made once for all plans: nothing here changes it for good."""
    with django_db_blocker.unblock():
        connection = connections[ALIAS]
        with connection.cursor() as cursor:
            cursor.execute(FILL.format(job=JOB), {"rows": ROWS, "worker": uuid.uuid4()})
            for table in (JOB, Attempt._meta.db_table, Worker._meta.db_table):
                cursor.execute(f"ANALYZE {table}")
        yield connection
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {JOB} CASCADE")
            cursor.execute(f"ANALYZE {JOB}")


@contextmanager
def explained(connection):
    """Make the block's statements explain themselves, as well as run. Yields what they say."""
    plans = []

    def explain(execute, sql, params, many, context):
        if sql.lstrip("( \n").split()[0] in ("SELECT", "UPDATE", "WITH", "DELETE", "INSERT"):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                (answer,) = cursor.fetchone()
            answer = json.loads(answer) if isinstance(answer, str) else answer
            plans.extend(nodes(answer[0]["Plan"]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield plans


def nodes(plan):
    """A plan and all below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes(plans):
    return {plan["Index Name"] for plan in plans if "Index Name" in plan}


def dear(plans):
    """Scans and sorts of whole tables. A sort of what a statement was given is none."""
    return [plan for plan in plans if plan["Node Type"] in DEAR and plan["Plan Rows"] > 1000] + [
        plan for plan in plans if plan["Node Type"] == "Seq Scan" and plan.get("Relation Name") == JOB
    ]


@pytest.fixture
def storage(full):
    return storage_for(ALIAS)


pytestmark = pytest.mark.django_db(databases=[ALIAS])


def claim(storage, **values):
    names = [f"task{number}" for number in range(20)]
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=names, **values)
    return storage.jobs.claim(claim, 100)


def test_a_claim_reads_the_ready_ones_in_order(storage, full):
    with explained(full) as plans:
        assert len(claim(storage)) == 100
    assert "dtq_job_ready" in indexes(plans)
    assert dear(plans) == []
    assert "Sort" not in {plan["Node Type"] for plan in plans}


@pytest.mark.parametrize(
    "values",
    [{"queues": ["queue1"]}, {"queues": ["queue1", "queue2"]}, {"exclude_queues": ["queue3"]}],
    ids=str,
)
def test_a_claim_of_some_queues_reads_no_job_of_the_others(storage, full, values):
    with explained(full) as plans:
        assert len(claim(storage, **values)) == 100
    assert "dtq_job_ready_in_queue" in indexes(plans)
    assert "dtq_job_ready" not in indexes(plans)
    # What is sorted are the first few of each queue.
    assert [plan for plan in dear(plans) if plan["Node Type"] != "Sort"] == []


def test_counts_of_queues_read_no_more_than_they_count(storage, full):
    with explained(full) as plans:
        queues = storage.queues.busy()
        counted = storage.queues.count(queues, cap=100)
    assert len(queues) == 7
    assert all(found.ready.is_capped and found.scheduled.is_capped for found in counted.values())
    assert {"dtq_job_ready_in_queue", "dtq_job_scheduled_in_queue", "dtq_job_running"} <= indexes(plans)
    assert [plan for plan in dear(plans) if plan.get("Relation Name") == JOB] == []
    assert [plan for plan in plans if plan["Node Type"] == "Sort" and plan["Plan Rows"] > 1000] == []


def test_counts_of_one_queue_read_none_of_a_huge_one(storage, lopsided):
    with explained(lopsided) as plans:
        storage.queues.count([("default", "huge"), ("default", "other")], cap=100)
    assert "dtq_job_ready" not in indexes(plans)
    assert "dtq_job_scheduled" not in indexes(plans)
    assert dear(plans) == []


@pytest.fixture
def lopsided(full):
    """All jobs are of one queue, and the statistics know of no other."""
    with full.cursor() as cursor:
        cursor.execute(f"UPDATE {JOB} SET queue_name = 'huge'")
        cursor.execute(f"ANALYZE {JOB}")
        # The plans of a worker's session: made once, before any queue is named.
        for name, value in PLANS.items():
            cursor.execute(f"SET LOCAL {name} = '{value}'")
    return full


def planned_for_any(connection, sql):
    """The plan of a statement whose parameters nobody has seen yet."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", sql)
    with connection.connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered}".encode())
        (answer,) = cursor.fetchone()
    return list(nodes(answer[0]["Plan"]))


@pytest.mark.parametrize("statement", ["CLAIM_OF_QUEUE", "CLAIM_OF_QUEUES", "CLAIM_OF_OTHERS"])
def test_a_claim_of_a_queue_reads_no_job_of_a_huge_one(storage, lopsided, statement):
    """Where the statistics promise that any job is of the queue, the wrong index looks as good."""
    plans = planned_for_any(lopsided, storage.session.sql[statement])
    assert "dtq_job_ready_in_queue" in indexes(plans)
    assert "dtq_job_ready" not in indexes(plans)


def test_a_look_for_work_in_vain_reads_what_is_ready_or_due(storage, full):
    with explained(full) as plans:
        assert not storage.jobs.has_work(
            Claim(worker_id=uuid.uuid4(), backend="default", task_names=["none"])
        )
    assert indexes(plans) == {"dtq_job_ready", "dtq_job_scheduled"}
    assert [plan for plan in plans if plan["Node Type"] == "Seq Scan"] == []


def test_a_promotion_reads_the_due_ones(storage, full):
    with explained(full) as plans:
        storage.maintenance.promote("default")
        assert storage.maintenance.next_due("default") is not None
    assert indexes(plans) >= {"dtq_job_scheduled", "dtq_job_expiring"}
    assert dear(plans) == []


def test_a_search_for_the_lost_reads_the_running_ones(storage, full):
    with explained(full) as plans:
        assert len(storage.maintenance.lost("default")) == ROWS // 1000
    assert "dtq_job_running" in indexes(plans)
    assert dear(plans) == []


def test_a_prune_reads_and_deletes_one_slice(storage, full):
    before = Job.objects.using(ALIAS).filter(status__in=FINAL).count()
    with explained(full) as plans, CaptureQueriesContext(full) as queries:
        assert storage.maintenance.prune("default", {"SUCCESSFUL"}, 86_400.0, 500) == 500
    assert Job.objects.using(ALIAS).filter(status__in=FINAL).count() == before - 500
    assert "dtq_job_finished" in indexes(plans)
    assert dear(plans) == []
    assert len(queries) <= 13


def test_a_finish_finds_its_rows_by_their_ids(storage, full):
    jobs = claim(storage)
    with explained(full) as plans:
        won = storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in jobs])
    assert len(won) == 100
    assert dear(plans) == []


def test_jobs_of_one_worker_are_found_by_it(storage, full):
    worker_id = Job.objects.using(ALIAS).filter(status="RUNNING").values_list("worker_id", flat=True)[0]
    with explained(full) as plans:
        assert len(storage.maintenance.held(worker_id)) == ROWS // 1000
    assert indexes(plans) == {"dtq_job_running"}


SEVEN = timedelta(days=7)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (actions.retry, "FAILED"),
        (actions.cancel, "READY"),
        (actions.discard, "SCHEDULED"),
        (actions.dismiss, "FAILED"),
        (actions.delete, "SUCCESSFUL"),
        (actions.run_now, "SCHEDULED"),
        (actions.pin, "SUCCESSFUL"),
        (lambda ids, using: actions.reschedule(ids, SEVEN, using=using), "READY"),
        (lambda ids, using: actions.change(ids, priority=3, using=using), "READY"),
    ],
)
def test_a_verb_finds_its_jobs_by_their_ids(full, verb, status):
    ids = list(Job.objects.using(ALIAS).filter(status=status).values_list("id", flat=True)[:100])
    with explained(full) as plans, CaptureQueriesContext(full) as queries:
        assert len(verb(ids, using=ALIAS).done) == 100
    assert dear(plans) == []
    assert len(queries) <= 12


def test_all_failures_are_found_by_their_own_index(full):
    failed = Job.objects.using(ALIAS).filter(status=JobStatus.FAILED)
    with explained(full) as plans:
        assert actions.matching(failed, 1000).more
    assert indexes(plans) == {"dtq_job_failed"}
    assert dear(plans) == []


def test_pinned_jobs_cost_a_prune_nothing(storage, full):
    """They are not in its index: the first thing it reads is what it deletes."""
    old = Job.objects.using(ALIAS).filter(status="SUCCESSFUL").order_by("finished_at")
    actions.pin(list(old.values_list("id", flat=True)[:1000]), using=ALIAS)
    with explained(full) as plans:
        assert storage.maintenance.prune("default", {"SUCCESSFUL"}, 86_400.0, 500) == 500
    assert "dtq_job_finished" in indexes(plans)
    assert dear(plans) == []
    assert Job.objects.using(ALIAS).filter(pinned_at__isnull=False).count() == 1000


def test_a_claim_under_a_limit_reads_what_runs_and_its_queue(storage, full):
    actions.limit("queue1", 1000, using=ALIAS)
    names = [f"task{number}" for number in range(20)]
    terms = Claim(worker_id=uuid.uuid4(), backend="default", task_names=names)
    with explained(full) as plans:
        assert len(storage.jobs.claim_limited(terms, "queue1", 50)) == 50
    assert indexes(plans) >= {"dtq_job_ready_in_queue", "dtq_job_running"}
    assert dear(plans) == []


def test_orders_and_statistics_do_not_look_at_jobs(storage, full):
    Queue.objects.using(ALIAS).create(backend="default", name="q", max_running=1)
    with explained(full) as plans:
        storage.queues.control("default", uuid.uuid4())
        storage.statistics.count("default", {("q", "t"): {"started": 1}})
        storage.statistics.fold("default")
        storage.statistics.forget("default", 60.0)
    assert JOB not in {plan.get("Relation Name") for plan in plans}
    ids = list(Job.objects.using(ALIAS).values_list("id", flat=True)[:100])
    with explained(full) as plans:
        assert len(storage.jobs.labels(ids)) == 100
    assert dear(plans) == []


@pytest.mark.skipif("mariadb" not in settings.DATABASES, reason="MariaDB is not there")
@pytest.mark.django_db(transaction=True, databases=["mariadb"])
@pytest.mark.parametrize("alias", ["mariadb"])
def test_a_claim_passes_over_what_has_ended_where_indexes_are_whole(alias):
    job = {"task_name": "task1", "backend": "default", "arguments": "[[],{}]", "enqueued_at": timezone.now()}
    ended = [Job(**job) for _ in range(5000)]
    Job.objects.using(alias).bulk_create(ended)
    Job.objects.using(alias).update(status="SUCCESSFUL", priority=5)
    ready = [Job(**job)]
    Job.objects.using(alias).bulk_create(ready)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {JOB}")
        cursor.fetchall()
    storage = storage_for(alias)
    terms = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["task1"])
    plan = storage.jobs._ready(terms).in_claim_order().values_list("id")[:10].explain(format="JSON")
    assert "dtq_job_ready" in plan
    assert "filesort" not in plan
    assert re.search(r"used_key_parts.*backend.*status", plan)
    assert [job.id for job in storage.jobs.claim(terms, 10)] == [job.id for job in ready]
