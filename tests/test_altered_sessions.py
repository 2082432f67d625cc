"""Database sessions of a worker: how many there are, whose they are, and what one task leaves to the next."""

import json
import os
import subprocess
import sys

import pytest
from django.db import connections

from django_tasks_q.execution.altered_sessions import alters, opened, watch_sessions
from django_tasks_q.models import Job

from .hardship import tasks as hard
from .project import ROOT
from .tasksapp import tasks


@pytest.fixture
def on_postgres(project):
    if project.alias != "postgres":
        pytest.skip("only PostgreSQL shows its sessions")
    return project


def hardship(project, **values):
    project.env |= {"EXTRA_APPS": '["tests.hardship"]', "HARDSHIP": json.dumps(values)}


def sessions():
    """Process ids of the server's sessions with this database, but for the test's own."""
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in cursor.fetchall()}


def pairs():
    """Child and session of each job that told."""
    results = Job.objects.filter(status="SUCCESSFUL", task_name=hard.backend_of_session.name)
    return {tuple(json.loads(result)) for result in results.values_list("result", flat=True)}


CONFIGURATIONS = {
    "default": {"connect": True},
    "checked": {"database": {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}},
    "pool": {"options": {"pool": True}, "connect": True},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_process_has_one_session_of_its_own(on_postgres, name):
    project, count = on_postgres, 5000 if name == "default" else 300
    hardship(project, **CONFIGURATIONS[name])
    pauses = [(0.2,)] * 4 + [(0.0,)] * (count - 4)
    hard.backend_of_session.enqueue_many(pauses)
    most = 0
    with project.worker("--processes", "2") as worker:

        def all_done():
            nonlocal most
            most = max(most, len(sessions()))
            return Job.objects.filter(status="SUCCESSFUL").count() == count

        project.wait_for(all_done, 60)
        assert "Traceback" not in worker.output
        assert "Threads were started" not in worker.output
        # Parent, listener, and two children, which are told apart by what they answer.
        assert most <= 4
        children = {child for child, _ in pairs()}
        assert len(children) == 2
        assert len(pairs()) == len({session for _, session in pairs()}) == 2


def test_what_a_task_says_to_its_session_ends_with_it(on_postgres):
    project = on_postgres
    hardship(project)
    state = (
        "SELECT current_setting('statement_timeout') || current_setting('search_path') || current_user"
        " || current_setting('timezone') || (SELECT count(*) FROM pg_listening_channels())"
        " || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
        " || (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid))"
        " || (SELECT count(*) FROM pg_cursors)"
        " || (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)"
        " || (now() = statement_timestamp())"  # else it is in somebody's transaction
    )
    said = [
        ["SET statement_timeout = '12s'"],
        ["SELECT set_config('search_path', 'nowhere', false)"],
        ["SET ROLE pg_monitor"],
        ["SET TIME ZONE 'Pacific/Chatham'"],
        ["LISTEN something"],
        ["SELECT pg_advisory_lock(42)::text"],
        ["CREATE TEMPORARY TABLE mine AS SELECT 1"],
        ["SELECT 1 INTO TEMP mine"],
        ["DO $$ BEGIN PERFORM pg_advisory_lock(43); END $$"],
        ["SELECT 1; SET search_path TO pg_catalog"],
        ["/* a task */ SET statement_timeout = '12s'"],
        ["/* a /* nested */ comment */ SET statement_timeout = '12s'"],
        ["-- a task\nSET statement_timeout = '12s'"],
        [f"SELECT 1 {'/* padding */' * 200}; SET statement_timeout = '12s'"],
        [f"SELECT {'1, ' * 1000} set_config('search_path', 'nowhere', false)"],
        ["DECLARE mine CURSOR WITH HOLD FOR SELECT 1"],
        ["PREPARE mine AS SELECT 1"],
        ["BEGIN"],
        ["SELECT 1; BEGIN; SELECT 2"],
    ]
    first = hard.say.enqueue(state)
    looks = []
    for statements in said:
        hard.say.enqueue(*statements)
        looks.append(hard.say.enqueue(state))
    project.run("runworker", "--batch", "--processes", "1")
    assert not Job.objects.exclude(status="SUCCESSFUL").exists()
    first.refresh()
    for statements, look in zip(said, looks, strict=True):
        look.refresh()
        assert look.return_value == first.return_value, statements


def test_a_session_that_nobody_changed_is_kept(on_postgres):
    hardship(on_postgres)
    hard.backend_of_session.enqueue_many([()] * 2)
    hard.say.enqueue("SELECT 1", "INSERT INTO tasksapp_effect (key, pid) VALUES ('listen', 1)")
    hard.backend_of_session.enqueue_many([()] * 2)
    on_postgres.run("runworker", "--batch", "--processes", "1")
    assert len(pairs()) == 1


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT 1", False),
        ('UPDATE "settings" SET "set_at" = 1', False),
        ("SET LOCAL statement_timeout = 1", False),
        ("set transaction read only", False),
        ("SET CONSTRAINTS ALL DEFERRED", False),
        ("SELECT * FROM t FOR UPDATE", False),
        ("CREATE TABLE temperature (x int)", False),
        ("  set statement_timeout = 1", True),
        ("SET SESSION AUTHORIZATION other", True),
        ("PRAGMA foreign_keys = OFF", True),
        ("ATTACH 'x' AS y", True),
        ("SELECT GET_LOCK('x', 1)", True),
        ("CREATE TEMP VIEW v AS SELECT 1", True),
        ("SELECT 1;", False),
        ("-- a comment\nSELECT 1", False),
        ("/* a comment */ SELECT 1 -- and another", False),
        ("INSERT INTO temperatures VALUES (1)", False),
        ("UPDATE t\nSET x = 1", False),
        ("SELECT '#' ->> 1", False),
        ("DECLARE c CURSOR FOR SELECT 1", False),
        ("SELECT 1;SET x = 1", True),
        ("SELECT 1 ; -- one\n /* two */ set x = 1", True),
        ("/* one */ /* two */ RESET ALL", True),
        ("/* a /* nested */ one */ SET x = 1", True),
        ("SELECT '--'; SET x = 1", True),
        ("SELECT pg_try_advisory_lock(1)", True),
        ("CALL anything()", True),
        ("DEALLOCATE ALL", True),
        ("SELECT 1 INTO TEMPORARY mine", True),
        ("ALTER SESSION SET x = 1", True),
        ("SELECT setseed(0.5)", True),
        ("SELECT set_limit(0.5)", True),
        ("-- a comment\rSET x = 1", True),
        ("SELECT 1;\r\nSET x = 1", True),
        ("UPDATE pg_settings SET setting = 'off' WHERE name = 'enable_sort'", True),
        ("UPDATE pg_catalog.pg_settings SET setting = 'off'", True),
        ("UPDATE t SET x = 'pg_settings'", False),
        ("CREATE TABLE pg_temp.mine (x int)", True),
        ("CREATE TABLE temp.mine (x int)", True),
        ('CREATE TABLE IF NOT EXISTS "temp" . mine (x int)', True),
        ("CREATE TABLE temperature (temp int)", False),
        ("CREATE INDEX i ON t (temp)", False),
        ("EXPLAIN PRAGMA foreign_keys = OFF", True),
        ("EXPLAIN QUERY PLAN PRAGMA foreign_keys = OFF", True),
        ("EXPLAIN SELECT 1", False),
        ("SELECT IF", False),
    ],
)
def test_the_text_of_a_statement_tells_whether_it_lasts(sql, answer):
    assert alters(sql) is answer


@pytest.mark.parametrize(
    "sql",
    [
        "SET LOCAL sql_mode = ''", "SET @mine = 1", "SELECT @mine := 1", "SELECT 1 INTO @mine",
        "LOCK TABLES t READ",
        "/*!40101 SET sql_mode = '' */", "/*M! SET sql_mode = '' */", "# t\nSET sql_mode = ''", "BEGIN",
        "START TRANSACTION", "FLUSH TABLES WITH READ LOCK", "HANDLER t OPEN",
        "SET SESSION sql_mode = ''", "USE other", "SELECT 1; USE other", "IF 1 THEN SET @mine = 1; END IF",
        "FOR i IN 1..2 DO SET @mine = i; END FOR", "a: LOOP SET @mine = 1; LEAVE a; END LOOP",
        "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "BEGIN NOT ATOMIC SET @mine = 1; END",
    ],
)  # fmt: skip
def test_the_text_of_a_statement_is_read_as_the_database_reads_it(sql):
    assert alters(sql, "mysql")


def test_a_connection_that_the_server_ended_is_not_handed_to_a_task(on_postgres, tmp_path):
    project = on_postgres
    hardship(project, database={"CONN_MAX_AGE": None})
    with project.worker("--processes", "1") as worker:
        first = hard.backend_of_session.enqueue()
        _, session = first.get(timeout=20)
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session])
        second = hard.backend_of_session.enqueue()
        assert second.get(timeout=20)[1] != session
        assert "Traceback" not in worker.output


PRELOADED = """
import os
import django

django.setup()
from django.db import connections
from tests.tasksapp import tasks

tasks.noop.enqueue()
connections.close_all()
for _ in range(3):
    if not os.fork():
        try:
            for _ in range(20):
                tasks.noop.enqueue()
        except BaseException:
            os._exit(1)
        os._exit(0)
assert [os.wait()[1] for _ in range(3)] == [0] * 3
"""


def test_web_processes_that_are_forked_after_the_first_enqueue_enqueue(project):
    with project.worker("--processes", "1"):
        tasks.noop.enqueue().get(timeout=20)
        subprocess.run([sys.executable, "-c", PRELOADED], env=project.env, cwd=ROOT, check=True, timeout=60)
        project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == 62)


KEEPING = {
    "for a request": {"database": {"CONN_MAX_AGE": 0}},
    "for ever": {"database": {"CONN_MAX_AGE": None}},
    "in a pool": {"options": {"pool": True}},
}


@pytest.mark.parametrize(
    ("keeping", "closing"),
    [("for a request", ""), ("for a request", "close"), ("for ever", "close"), ("in a pool", "close")],
)
def test_no_two_processes_of_a_preloading_server_share_a_session(on_postgres, keeping, closing):
    hardship(on_postgres, **KEEPING[keeping])
    command = [sys.executable, "-m", "tests.hardship.preloaded", closing]
    done = subprocess.run(
        command, env=on_postgres.env, cwd=ROOT, timeout=60, stdout=subprocess.PIPE, text=True
    )
    owners = {}
    for process, session in map(str.split, done.stdout.splitlines()):
        owners.setdefault(session, set()).add(process)
    assert all(len(processes) == 1 for processes in owners.values()), owners
    assert len(set.union(*owners.values())) == 4
    assert done.returncode == 0
    assert Job.objects.count() == 61


def test_a_copy_of_a_process_knows_none_of_its_sessions(project):
    """Its threads are not in the copy, and what they have opened must not be closed there."""
    connection = connections[project.alias]
    connection.close()
    watch_sessions()
    connection.ensure_connection()
    assert connection in [one for one, _ in opened()]
    pid = os.fork()
    if pid == 0:
        os._exit(len(opened()))
    assert os.waitpid(pid, 0)[1] == 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
