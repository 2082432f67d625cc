"""What a task leaves in its process is not there for the next job of the same worker."""

import json
import re

import pytest
from django.db import connections

from django_tasks_q.execution.process_state import RETIRING
from django_tasks_q.models import Job

from .conftest import on_one_database
from .hardship import tasks as hard
from .leaving import tasks as leaving
from .leaving.lines import LINES
from .project import wait_for
from .tasksapp import tasks
from .test_docs import DOCS

ONE_AT_A_TIME = ("--processes", "1", "--threads", "1", "--async-concurrency", "1")


@pytest.fixture
def leaving_project(project):
    project.env |= {"EXTRA_APPS": json.dumps(["tests.leaving", "tests.hardship"])}
    return project


@on_one_database
@pytest.mark.parametrize("kind", ["process", "thread", "async"])
def test_each_job_finds_its_process_as_the_first_did(leaving_project, kind):
    change, read = getattr(leaving, f"change_{kind}"), getattr(leaving, f"read_{kind}")
    lines = [name for name, line in LINES.items() if kind in line.kinds]
    first = {line: read.enqueue(line) for line in lines}
    changed, second = {}, {}
    for line in lines:
        changed[line] = change.enqueue(line)
        second[line] = read.enqueue(line)
    output = leaving_project.run("runworker", "--batch", *ONE_AT_A_TIME)
    for results in (first, changed, second):
        for result in results.values():
            result.refresh()
    assert {line: result.status for line, result in changed.items()} == dict.fromkeys(lines, "SUCCESSFUL")
    before = {line: result.return_value for line, result in first.items()}
    assert {line: result.return_value for line, result in second.items()} == before
    assert not Job.objects.exclude(attempts=1, crashes=0).exists()
    assert "Traceback" not in output.stderr


@pytest.mark.once
def test_what_ends_a_child_is_documented():
    page = (DOCS / "explanation/isolation.md").read_text()
    (table,) = re.findall(r"## What ends the child\n(.*?)\n## ", page, re.S)
    for name in RETIRING:
        assert name.removeprefix("handler of ") in table, name


@on_one_database
def test_a_child_ends_with_the_processes_that_its_modules_count_on(leaving_project):
    pools = [leaving.use_pool.enqueue() for _ in range(3)]
    started = [leaving.start_by_server.enqueue() for _ in range(3)]
    waited = [leaving.wait_for_process.enqueue() for _ in range(2)]
    leaving_project.run("runworker", "--batch", *ONE_AT_A_TIME)
    for result in (*pools, *started, *waited):
        result.refresh()
    assert [result.status for result in (*pools, *started, *waited)] == ["SUCCESSFUL"] * 8
    assert [result.return_value[1] for result in (*pools, *started)] == [1] * 3 + [0] * 3
    assert len({result.return_value[0] for result in (*pools, *started)}) == 6
    # Where nothing was killed, nothing has changed.
    assert len({result.return_value for result in waited}) == 1


# Sessions of other threads than those that attempts run in

HOWS = [
    (kind, how)
    for kind in ("process", "thread", "async")
    for how in ("shared", "to_thread", "insensitive", "pool")
    if (kind, how) != ("async", "pool")
]


def open_transactions():
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


def test_sessions_of_other_threads_are_clean_for_the_next_job(leaving_project):
    project = leaving_project
    if project.alias != "postgres":
        pytest.skip("only PostgreSQL ends single sessions")
    show = "SELECT current_setting('statement_timeout') || (now() = statement_timestamp())"
    with project.worker(*ONE_AT_A_TIME) as worker:
        for kind, how in HOWS:
            query = getattr(leaving, f"query_{kind}")
            _, first = query.enqueue(how, show).get(timeout=20)
            query.enqueue(how, "SET statement_timeout = '12s'").get(timeout=20)
            assert query.enqueue(how, show).get(timeout=20)[1] == first, (kind, how)
            query.enqueue(how, "BEGIN", "SELECT 1").get(timeout=20)
            wait_for(lambda: not open_transactions())
            session, again = query.enqueue(how, show).get(timeout=20)
            assert again == first, (kind, how)
            with connections["postgres"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session])
            assert query.enqueue(how, show).get(timeout=20)[1] == first, (kind, how)
        assert "Traceback" not in worker.output


FUNCTION = """
CREATE OR REPLACE FUNCTION alter_time_zone() RETURNS text LANGUAGE sql
AS $$ SELECT set_config('timezone', 'Pacific/Chatham', false) $$
"""


def test_changes_of_a_session_that_no_statement_shows_end_with_it(leaving_project):
    if leaving_project.alias != "postgres":
        pytest.skip("only PostgreSQL reports settings")
    with connections["postgres"].cursor() as cursor:
        cursor.execute(FUNCTION)
    show = "SELECT current_setting('statement_timeout') || current_setting('timezone')"
    first = leaving.query_process.enqueue("pool", show)
    hows = ("driver", "procedure", "function")
    second = {}
    for how in hows:
        leaving.alter_session.enqueue(how)
        second[how] = hard.say.enqueue(show)
    leaving_project.run("runworker", "--batch", *ONE_AT_A_TIME)
    first.refresh()
    for result in second.values():
        result.refresh()
    assert not Job.objects.exclude(status="SUCCESSFUL").exists()
    values = {how: result.return_value for how, result in second.items()}
    assert values == dict.fromkeys(hows, first.return_value[1])


# Pools of a process that forks copy


def test_a_worker_does_not_start_where_its_processes_would_share_sessions(leaving_project):
    if leaving_project.alias != "postgres":
        pytest.skip("the pool is one of PostgreSQL's sessions")
    leaving_project.env |= {"DATABASE_ENGINE": "tests.pooling"}
    hard.backend_of_session.enqueue()
    refused = leaving_project.run("runworker", "--batch", "--processes", "3", check=False)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "would share a session of database 'default'" in line
    assert "'tests.pooling'" in line
    assert Job.objects.get().status == "READY"


def test_no_task_uses_a_session_that_its_process_was_forked_with(leaving_project):
    if leaving_project.alias != "postgres":
        pytest.skip("the pool is one of PostgreSQL's sessions")
    leaving_project.env |= {
        "EXTRA_APPS": json.dumps(["tests.leaving", "tests.hardship", "tests.pooling"]),
        "OTHER_DATABASE_URL": leaving_project.database_url,
    }
    result = tasks.query.enqueue("other", "SELECT 1")
    beside = tasks.query.enqueue("default", "SELECT 1")
    leaving_project.run("runworker", "--batch", *ONE_AT_A_TIME)
    result.refresh()
    beside.refresh()
    assert "would share a session of database 'other'" in result.errors[0].message
    assert beside.return_value == 1
