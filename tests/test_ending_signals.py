"""Receivers of signals hear of every ending, in a worker that lives."""

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q.actions import cancel

from .conftest import on_one_database
from .stopping import tasks
from .test_worker import finished, job, options


@pytest.fixture
def heard(project, tmp_path):
    path = tmp_path / "heard"
    project.env |= {"EXTRA_APPS": '["tests.stopping"]', "LISTEN": "connect", "NOTE": str(path)}

    def heard():
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    return heard


@on_one_database
def test_every_timeout_is_heard_of(project, heard):
    results = [tasks.be_late.enqueue(f"late-{number}") for number in range(12)]
    results += [tasks.be_late_in_thread.enqueue(f"thread-{number}") for number in range(4)]
    results += [tasks.be_late_in_loop.enqueue(f"loop-{number}") for number in range(4)]
    with project.worker("--processes", "2", "--threads", "2"):
        finished(project, *results)
        project.wait_for(lambda: len(heard()) >= len(results))
    assert Counter(map(tuple, heard())) == Counter(
        ("finished", result.id, "FAILED", "TaskTimeout", result.args[0]) for result in results
    )


@on_one_database
def test_every_other_ending_is_heard_of(project, heard):
    options(project, max_crashes=2)
    failing, dying = tasks.fail.enqueue("failing"), tasks.die.enqueue("dying")
    itself = tasks.cancel_itself.enqueue("itself")
    soon = timezone.now() + timedelta(seconds=1)
    late = tasks.fail.using(expires_at=soon, queue_name="later").enqueue("late")
    running = tasks.run_on.enqueue("running")
    with project.worker("--processes", "3", "--exclude-queue", "later"):
        project.wait_for(lambda: ["there", "running"] in heard())
        cancel(running.id)
        results = (failing, dying, itself, running, late)
        finished(project, *results, timeout=30)
        ended = {result.id for result in results}
        project.wait_for(lambda: ended <= {id for name, id, *_ in heard() if name == "finished"})
    # The state of a job that has been lost and runs again changes at once.
    lines = Counter(tuple(line) if line[0] != "lost" else ("lost", line[1]) for line in heard())
    assert lines == {
        ("there", "running"): 1,
        ("retrying", failing.id, "READY", "ValueError", "failing"): 1,
        ("finished", failing.id, "FAILED", "ValueError", "failing"): 1,
        ("lost", dying.id): 2,
        ("finished", dying.id, "FAILED", "NoneType", "none"): 1,
        ("finished", itself.id, "FAILED", "NoneType", "itself"): 1,
        ("cancelled", itself.id, "FAILED", "NoneType", "itself"): 1,
        ("finished", running.id, "FAILED", "NoneType", "running"): 1,
        ("cancelled", running.id, "FAILED", "NoneType", "running"): 1,
        ("finished", late.id, "FAILED", "NoneType", "none"): 1,
    }


@on_one_database
def test_what_another_worker_has_lost_is_heard_of(project, heard):
    options(project, lease=5)
    result = tasks.be_late.using(timeout=None).enqueue("lost")
    with project.worker("--processes", "1") as worker:
        project.wait_for(lambda: job(result).status == "RUNNING")
        worker.kill()
    with project.worker("--processes", "1"):
        project.wait_for(lambda: [line[:2] for line in heard()] == [["lost", result.id]], timeout=30)


def test_receivers_may_query_while_an_attempt_begins_in_another_thread(project, heard):
    if project.alias != "postgres":
        pytest.skip("only PostgreSQL can be asked to sleep")
    project.env["LISTEN"] = "use_the_database"
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(1)'"

    def is_busy():
        with connections[project.alias].cursor() as cursor:
            cursor.execute(busy)
            return cursor.fetchone()[0]

    first = tasks.say_in_thread.enqueue("first")
    with project.worker("--threads", "2") as worker:
        finished(project, first)
        project.wait_for(is_busy)
        finished(project, *(tasks.say_in_thread.enqueue("again") for _ in range(10)))
        assert is_busy()
    assert "Traceback" not in worker.output
    assert "has changed its process" not in worker.output
