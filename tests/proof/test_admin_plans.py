"""What the admin's screens cost on a full table, by the plans that PostgreSQL makes for them."""

import os
import time
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q.models import Attempt, Job, Statistic, Worker
from django_tasks_q.models.statistic import FIGURES

from ..admin_support import DASHBOARD, JOBS, QUEUES, SCREENS
from ..conftest import Router
from .test_plans import ALIAS, DEAR, JOB, explained

ROWS = int(os.environ.get("ADMIN_ROWS", "200000"))
#: As of a busy site: nearly all have ended well, few have failed, some wait. Ids begin with the time.
FILL = """
INSERT INTO {job} (id, task_name, queue_name, backend, priority, status, run_after, arguments, options,
                   max_attempts, fence, attempts, crashes, worker_id, enqueued_at, finished_at, error_code)
SELECT (LPAD(TO_HEX((EXTRACT(EPOCH FROM NOW()) * 1000)::bigint - number::bigint * 1000), 12, '0')
        || '7' || SUBSTR(MD5(number::text), 1, 3) || '8' || SUBSTR(MD5(number::text), 4, 15))::uuid,
       'task' || number %% 20, 'queue' || number %% 7, 'default', number %% 5 - 2, status,
       NOW() + number * INTERVAL '1 second', '[[],{{}}]', '', 1, 1, 1, 0,
       CASE WHEN status = 'RUNNING' THEN %(worker)s::uuid END, NOW(),
       CASE WHEN status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') THEN NOW() - number * INTERVAL '1 s' END, ''
FROM (
    SELECT number, CASE WHEN number %% 40 = 1 THEN 'READY' WHEN number %% 100 = 2 THEN 'SCHEDULED'
                        WHEN number %% 5000 = 4 THEN 'RUNNING' WHEN number %% 100 = 5 THEN 'FAILED'
                        WHEN number = {rows} THEN 'CANCELLED' ELSE 'SUCCESSFUL' END AS status
    FROM GENERATE_SERIES(1, %(rows)s) AS number
) AS numbered
"""

pytestmark = pytest.mark.django_db(databases=[ALIAS, "default"])


@pytest.fixture(scope="module")
def full(django_db_setup, django_db_blocker):
    """A full table, made once for all plans: nothing here changes it for good."""
    with django_db_blocker.unblock():
        connection = connections[ALIAS]
        now = timezone.now()
        worker = Worker.objects.using(ALIAS).create(
            name="w",
            hostname="h",
            pid=1,
            backend="default",
            processes=4,
            version="1",
            started_at=now,
            heartbeat_at=now,
            lease_expires_at=now + timedelta(days=1),
        )
        with connection.cursor() as cursor:
            cursor.execute(FILL.format(job=JOB, rows=ROWS), {"rows": ROWS, "worker": worker.pk})
            for table in (JOB, Attempt._meta.db_table, Worker._meta.db_table):
                cursor.execute(f"VACUUM ANALYZE {table}")
        yield connection
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {JOB}, {Worker._meta.db_table} CASCADE")
            cursor.execute(f"ANALYZE {JOB}")


@pytest.fixture
def client(full, settings):
    settings.DATABASE_ROUTERS = [Router(ALIAS)]
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": ALIAS}
    settings.TASKS = {**settings.TASKS, "default": settings.TASKS["default"] | {"OPTIONS": options}}
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


URLS = [
    *SCREENS,
    *(f"{DASHBOARD}?span={span}" for span in ("24h", "7d")),
    *(
        f"{JOBS}?{query}"
        for query in (
            "window=all",
            "status=ready",
            "status=ready&queue=queue3",
            "status=scheduled",
            "status=retrying",
            "status=running",
            "status=failed",
            "status=failed&task=task5",
            "status=failed&task=none",
            "status=successful&window=all",
            "status=cancelled&window=all",
            "status=expired&window=all",
            "task=none&window=all",
            "task=task3",
            "queue=none&window=30d",
            "tag=none&window=all",
            "worker=00000000-0000-0000-0000-000000000000",
            "window=all&since=2020-01-01T00:00",
        )
    ),
]


def scans(plans):
    """Whole tables that are read, and sorts of more than the first few rows."""
    found = []
    for plan in plans:
        if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan") and plan.get("Relation Name") == JOB:
            found.append(plan)
        # One that goes on in an order which is there already stops at the limit above it.
        if plan["Node Type"] in DEAR - {"Seq Scan", "Incremental Sort"} and plan["Plan Rows"] > 25_000:
            found.append(plan)
    return found


@pytest.mark.parametrize("url", URLS)
def test_no_screen_scans_or_sorts_the_job_table(client, full, url):
    client.get(url)
    with explained(full) as plans, CaptureQueriesContext(full) as queries:
        assert client.get(url).status_code == 200
    assert scans(plans) == []
    assert not url.startswith(f"{JOBS}?") or JOB in {plan.get("Relation Name") for plan in plans}
    own = [
        query["sql"]
        for query in queries
        if not query["sql"].startswith("EXPLAIN")
        and not any(part in query["sql"] for part in ("django_session", "auth_", "SAVEPOINT"))
    ]
    # Queues are looked for in each state and backend.
    assert len(own) <= (16 if url.startswith((DASHBOARD, QUEUES)) else 6)


def test_pages_of_a_job_and_the_last_page_read_little(client, full):
    job = Job.objects.using(ALIAS).filter(status="FAILED").first()
    later = client.get(f"{JOBS}?window=all").context_data["next_url"]
    for url in (f"{JOBS}{job.pk}/change/", JOBS + later):
        with explained(full) as plans:
            assert client.get(url).status_code == 200
        assert scans(plans) == []


CONFIRMED = [
    ("cancel", "status=ready"),
    ("cancel", "status=ready&queue=queue3"),
    ("cancel", "status=ready&task=none"),
    ("discard", "status=scheduled&task=none"),
    ("discard", "queue=queue3"),
    ("cancel", "status=running"),
    ("retry", "status=failed&task=none"),
    ("retry", "status=failed&exception=none"),
    ("dismiss", "status=failed&schedule=none"),
    ("delete", "tag=none&window=all"),
    ("delete", "status=expired&window=all"),
]


def walks(plans):
    """Goes over all jobs by their ids to find those in some state."""
    return [
        plan
        for plan in plans
        if plan.get("Index Name", "").endswith("_pkey")
        and "status" in plan.get("Filter", "")
        and "Index Cond" not in plan
    ]


@pytest.mark.parametrize(("verb", "query"), CONFIRMED)
def test_to_count_all_that_a_filter_finds_reads_along_an_index(client, full, verb, query, monkeypatch):
    # Few rows beside all of this table, as the budget is beside a large one.
    monkeypatch.setattr("django_tasks_q.actions.BUDGET", ROWS // 10)
    monkeypatch.setattr(import_module("django_tasks_q.actions.matching"), "REACH", ROWS // 20)
    with explained(full) as plans:
        response = client.post(f"{JOBS}actions/{verb}/", {"matching": query})
    assert (response.status_code, bool(response.context_data)) == (200, True)
    assert JOB in {plan.get("Relation Name") for plan in plans}
    assert scans(plans) == []
    assert walks(plans) == []


def test_to_clear_a_queue_reads_along_an_index(client, full):
    form = {"backend": "default", "queue": "queue3"}
    with explained(full) as plans:
        response = client.post(f"{QUEUES}actions/clear/", form)
    assert response.context_data["waiting"].number > 0
    assert scans(plans) == []
    assert walks(plans) == []


COMMANDS = [
    ("cancel", "--status", "ready", "--limit", "5"),
    ("cancel", "--status", "ready", "--task", "none"),
    ("cancel", "--status", "ready", "--queue", "none", "--all"),
    ("discard", "--queue", "none", "--all"),
    ("discard", "--status", "scheduled", "--queue", "queue3", "--limit", "5"),
    ("retry", "--task", "none", "--all"),
    ("retry", "--status", "failed", "--tag", "none", "--all"),
]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_finds_its_jobs_along_an_index(full, words, monkeypatch):
    monkeypatch.setattr(import_module("django_tasks_q.actions.matching"), "REACH", ROWS // 20)
    with explained(full) as plans, suppress(SystemExit, CommandError):  # of a name that no job has
        call_command("tasks", *words)
    assert JOB in {plan.get("Relation Name") for plan in plans}
    assert scans(plans) == []
    assert walks(plans) == []


def computed(connection):
    """Seconds that the processor has worked for a connection, whatever else the machine was busy with."""
    pid = connection.connection.info.backend_pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize("url", URLS)
def test_screens_are_quick(client, full, url):
    client.get(url)
    times, ours, theirs = [], [], []
    for _ in range(int(os.environ.get("ADMIN_TIMES", "3"))):
        began, python, database = time.perf_counter(), time.process_time(), computed(full)
        client.get(url)
        times.append(time.perf_counter() - began)
        ours.append(time.process_time() - python)
        theirs.append(computed(full) - database)
    total, python, database = (min(each) * 1000 for each in (times, ours, theirs))
    print(f"{total:.0f} ms, worked {python:.0f} ms in Python and {database:.0f} ms in PostgreSQL: {url}")
    # Time that has passed says more of what else the machine does. docs/reference/admin.md has figures.
    assert python + database < 400


#: A thousand queues with jobs, and what five thousand tasks did in the last hour.
VERY_MANY = (
    """
INSERT INTO {job} (id, task_name, queue_name, backend, priority, status, arguments, options, max_attempts,
                   fence, attempts, crashes, enqueued_at, error_code)
SELECT GEN_RANDOM_UUID(), 'task' || number, 'queue' || number %% 1000, 'default', number %% 5, 'READY',
       '[[],{{}}]', '', 1, 0, 0, 0, NOW(), '' FROM GENERATE_SERIES(1, 20000) AS number
""",
    """
INSERT INTO {statistic} (backend, moment, queue_name, task_name, {figures})
SELECT 'default', DATE_TRUNC('minute', NOW()) - number %% 10 * INTERVAL '1 minute', 'queue' || number %% 1000,
       'task' || number / 10, {ones} FROM GENERATE_SERIES(0, 49999) AS number
""",
)


def test_a_dashboard_of_very_many_queues_workers_and_tasks(full, client):
    now = timezone.now()
    figures = [*FIGURES]
    names = {
        "job": JOB,
        "statistic": Statistic._meta.db_table,
        "figures": ", ".join(figures),
        "ones": ", ".join("1" for _ in figures),
    }
    with full.cursor() as cursor:
        for statement in VERY_MANY:
            cursor.execute(statement.format(**names), [])
        cursor.execute(f"ANALYZE {JOB}")
        cursor.execute(f"ANALYZE {names['statistic']}")
    Worker.objects.using(ALIAS).bulk_create(
        Worker(
            name=f"w{number}",
            hostname="h",
            pid=number + 1,
            backend="default",
            processes=4,
            version="1",
            queues=f'["queue{number}", "queue{number + 500}"]',
            started_at=now,
            heartbeat_at=now,
            lease_expires_at=now + timedelta(days=1),
        )
        for number in range(500)
    )
    for url in (DASHBOARD, QUEUES):
        client.get(url)
        with CaptureQueriesContext(full) as queries:
            taken = []
            for _ in range(3):
                began, python, database = time.perf_counter(), time.process_time(), computed(full)
                response = client.get(url)
                taken.append(
                    (time.perf_counter() - began, time.process_time() - python, computed(full) - database)
                )
        total, python, database = (round(min(each) * 1000) for each in zip(*taken, strict=True))
        print(f"{total} ms, worked {python} ms in Python and {database} ms in PostgreSQL: {url}")
        assert response.status_code == 200
        assert len(queries) < 3 * 25
        assert python + database < 1000  # far below on a machine that is not busy
