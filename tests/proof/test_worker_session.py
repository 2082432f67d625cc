"""What the statements of a worker read in the session that issues them, beside a table full of other rows.

A worker's hot statements need settings of the planner that would make others read and sort whole tables.
"""

import json
import uuid
from contextlib import contextmanager

import pytest
from django.db import connections
from psycopg.sql import SQL, Literal

from django_tasks_q.models import Job
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.postgresql.pipeline import _numbered

ALIAS = "postgres"
JOB = Job._meta.db_table
ROWS = 120_000
DAY = 86_400.0

#: Half have ended. Of the others, some hundreds are in each state that a duty of a worker looks for, and
#: thousands are not yet due, or belong to another backend.
FILL = f"""
INSERT INTO {JOB} (id, task_name, queue_name, backend, priority, status, run_after, expires_at, arguments,
                   options, max_attempts, fence, attempts, crashes, worker_id, enqueued_at, finished_at,
                   error_code)
SELECT GEN_RANDOM_UUID(), 'task' || number %% 20, 'queue' || number %% 7,
       CASE WHEN number %% 10 BETWEEN 5 AND 6 THEN 'other' ELSE 'default' END, 0, status,
       CASE WHEN status = 'SCHEDULED' AND number %% 10 = 5 THEN NOW() - INTERVAL '1 second'
            WHEN status = 'SCHEDULED' THEN NOW() + number * INTERVAL '1 second' END,
       CASE WHEN status = 'SCHEDULED' AND number %% 10 = 5 THEN NOW() - INTERVAL '1 second'
            WHEN status = 'SCHEDULED' THEN NOW() + (number - 6000) * INTERVAL '1 minute' END,
       '[[],{{}}]', '', 1, 1, 1, 0, CASE WHEN status = 'RUNNING' THEN %(worker)s::uuid END, NOW(),
       CASE WHEN status IN ('SUCCESSFUL', 'FAILED') THEN NOW() - INTERVAL '20 days' END, ''
FROM (
    SELECT number, CASE WHEN number %% 10 IN (1, 5) THEN 'SCHEDULED' WHEN number %% 400 = 2 THEN 'RUNNING'
                        WHEN number %% 10 = 3 THEN 'FAILED' WHEN number %% 10 = 4 THEN 'READY'
                        ELSE 'SUCCESSFUL' END AS status
    FROM GENERATE_SERIES(1, %(rows)s) AS number
) AS numbered
"""


@pytest.fixture(scope="module", params=["before ANALYZE", "after ANALYZE"])
def full(request, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        connection = connections[ALIAS]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {JOB} CASCADE")
            cursor.execute(f"ANALYZE {JOB}")  # as of an empty table
            cursor.execute(f"ALTER TABLE {JOB} SET (autovacuum_enabled = off)")
            cursor.execute(FILL, {"rows": ROWS, "worker": uuid.uuid4()})
            if request.param == "after ANALYZE":
                cursor.execute(f"ANALYZE {JOB}")
        yield connection
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {JOB} CASCADE")
            cursor.execute(f"ALTER TABLE {JOB} RESET (autovacuum_enabled)")
            cursor.execute(f"ANALYZE {JOB}")


@pytest.fixture
def storage(full, monkeypatch):
    """As a worker has it, after its first claim."""
    storage = storage_for(ALIAS)
    prepared, wrappers = storage.session.prepared, connections[ALIAS].execute_wrappers
    monkeypatch.setattr(prepared, "is_worker", True)
    monkeypatch.setattr(storage.jobs, "_reached", None)
    yield storage
    wrappers.remove(prepared._plan_as_usual)
    prepared._sessions.clear()  # the test's transaction is rolled back, and the settings with it


def claim(storage, **values):
    names = [f"task{number}" for number in range(20)]
    return Claim(worker_id=uuid.uuid4(), backend="default", task_names=names, **values)


@contextmanager
def measured(storage):
    """Yield the statements of the block, each with how many jobs it reads, and how many rows it returns."""
    read = []

    def measure(execute, sql, params, many, context):
        if sql.lstrip("( \n").split()[0] in ("SELECT", "UPDATE", "WITH", "DELETE"):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute("SAVEPOINT measured")
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {sql}", params)
                (answer,) = cursor.fetchone()
                cursor.execute("ROLLBACK TO SAVEPOINT measured")
            answer = json.loads(answer) if isinstance(answer, str) else answer
            plan = answer[0]["Plan"]
            written = plan["Plans"][0] if plan["Node Type"] == "ModifyTable" else plan
            read.append((sum(map(rows, nodes(plan))), written["Actual Rows"], sql))
        return execute(sql, params, many, context)

    measure.is_passive = True
    # Within the worker's own, so that it sees the settings that the statement is run under.
    with connections[ALIAS].execute_wrapper(measure):
        yield read


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows(node):
    if node.get("Relation Name") != JOB:
        return 0
    removed = sum(node.get(key, 0) for key in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return (node["Actual Rows"] + removed) * node["Actual Loops"]


DUTIES = {
    "promote": lambda maintenance: maintenance.promote("default"),
    "next_due": lambda maintenance: maintenance.next_due("default"),
    "expire": lambda maintenance: maintenance.expire("default"),
    "lost": lambda maintenance: maintenance.lost("default"),
    "held": lambda maintenance: maintenance.held(uuid.uuid4()),
    "clear_results": lambda maintenance: maintenance.clear_results("default", 60.0),
    "own_times": lambda maintenance: maintenance.own_times("default", "retention"),
    "unknown": lambda maintenance: maintenance.unknown("default", [], 0.0, limit=100),
}


@pytest.mark.django_db(databases=[ALIAS])
@pytest.mark.parametrize("duty", DUTIES)
def test_a_duty_reads_what_it_is_about_in_the_workers_session(storage, duty):
    storage.jobs.claim(claim(storage), 1)
    with measured(storage) as read:
        DUTIES[duty](storage.maintenance)
    assert read
    for number, returned, sql in read:
        assert number <= 10 * returned + 200, sql


HOT = {
    "PRUNE": {"seconds": 30 * DAY, "limit": 500, "statuses": ["EXPIRED", "FAILED"]},
    "PRUNE_RETAINED": {"seconds": 30 * DAY, "limit": 500},
}


@pytest.mark.django_db(databases=[ALIAS])
@pytest.mark.parametrize("name", HOT)
def test_a_prepared_statement_of_a_duty_reads_what_it_deletes(storage, name):
    """Planned once, with nothing known of its values, as a worker has it."""
    storage.jobs.claim(claim(storage), 1)
    numbered, names = _numbered(storage.session.sql[name])
    values = {"backend": "default", **HOT[name]}
    with connections[ALIAS].connection.cursor() as cursor:
        cursor.execute(b"PREPARE measured AS " + numbered)
        given = SQL(", ").join(Literal(values[each]) for each in names)
        cursor.execute(SQL("EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) EXECUTE measured ({})").format(given))
        plan = cursor.fetchone()[0][0]["Plan"]
        cursor.execute("DEALLOCATE measured")
    assert sum(map(rows, nodes(plan))) <= 10 * plan["Actual Rows"] + 200
