"""Tasks whose writes are one transaction with the end of their job."""

import os
import signal
import uuid

import pytest
from django.db import OperationalError, connections

from django_tasks_q import task
from django_tasks_q.compat import task_backends
from django_tasks_q.execution.runner import Runner
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.testing import run_jobs
from django_tasks_q.worker.outcome_writer import write_outcomes

from .tasksapp import tasks
from .tasksapp.models import Effect
from .test_worker import finished, job, options, outcomes


def keys():
    return sorted(Effect.objects.values_list("key", flat=True))


def run(project, *flags):
    return project.run("runworker", "--batch", "--processes", "1", *flags)


def test_all_of_it_is_committed_together(project):
    results = [tasks.leave_atomically.enqueue(str(number)) for number in range(5)]
    done = run(project)
    assert [result.return_value for result in finished(project, *results)] == list("01234")
    assert keys() == sorted([*"01234", *(f"{number} follows" for number in range(5))])
    assert "10 succeeded" in done.stdout
    assert all(job(result).fence == job(result).attempts == 1 for result in results)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("raise", "UNHANDLED_EXCEPTION"),
        ("object", "RESULT_UNSTORABLE"),
        ("caught", "UNHANDLED_EXCEPTION"),
        ("rollback", "UNHANDLED_EXCEPTION"),
        ("autocommit", "UNHANDLED_EXCEPTION"),
        ("commit", "UNHANDLED_EXCEPTION"),
        ("durable", "UNHANDLED_EXCEPTION"),
    ],
)
def test_of_a_failure_nothing_stays(project, how, code):
    result = tasks.leave_atomically.using(max_attempts=2, backoff=0).enqueue("gone", how)
    run(project)
    finished(project, result)
    assert (job(result).status, job(result).error_code) == ("FAILED", code)
    assert outcomes(result) == (["failed"] if how == "object" else ["failed", "failed"])
    assert keys() == []
    assert Job.objects.count() == 1  # what it enqueued is gone too
    if how == "caught" and project.alias == "default":
        assert "transaction" in result.errors[0].message.lower() or result.errors


def test_a_savepoint_may_fail_inside(project):
    result = tasks.leave_atomically.enqueue("kept", "savepoint")
    run(project)
    assert finished(project, result).return_value == "kept"
    assert keys() == ["kept", "kept follows"]


def test_callbacks_run_after_the_commit(project, tmp_path):
    mark = tmp_path / "mark"
    good = tasks.leave_atomically.enqueue("good", "hook", str(mark))
    bad = tasks.leave_atomically.enqueue("bad", "bad hook")
    done = run(project)
    finished(project, good, bad)
    assert mark.read_text() == "committed"
    assert (job(bad).status, job(bad).attempts) == ("SUCCESSFUL", 1)
    assert "An on_commit() callback of job" in done.stderr
    assert keys() == ["bad", "bad follows", "good", "good follows"]


def test_other_databases_take_no_part(project, tmp_path, request):
    if project.alias == "mariadb":
        pytest.skip("two others are enough")
    other = "postgres" if project.alias == "default" else "default"
    from django.conf import settings

    project.env["OTHER_DATABASE_URL"] = settings.DATABASE_URLS[other]
    request.getfixturevalue("django_db_blocker")
    result = tasks.write_elsewhere.enqueue("other", "stays")
    run(project)
    finished(project, result)
    with connections[other].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tasksapp_effect WHERE key = 'stays'")
        assert cursor.fetchone() == (1,)
        cursor.execute("DELETE FROM tasksapp_effect")


test_other_databases_take_no_part = pytest.mark.django_db(
    transaction=True, databases=["default", "postgres"]
)(test_other_databases_take_no_part)


def test_a_worker_that_lost_the_job_takes_its_writes_back(project, tmp_path):
    """The fence is asked inside the transaction: a frozen attempt wakes up and finds the job another's."""
    mark = tmp_path / "mark"
    result = tasks.leave_atomically.enqueue("once", "lock", str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        if project.alias == "default":
            pytest.skip("nobody can take a job while the task holds SQLite's write lock")
        Job.objects.filter(id=result.id).update(fence=5)  # as a rescue and a claim would
        project.wait_for(lambda: "dropped: the job was taken" in worker.output)
    assert keys() == []
    assert job(result).status == "RUNNING"


def test_a_process_that_dies_takes_its_writes_back(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.leave_atomically.enqueue("once", "wait", str(mark))
    with project.worker("--processes", "1"):
        for _ in range(3):
            pid = int(project.wait_for(lambda: mark.exists() and mark.read_text()))
            mark.unlink()
            os.kill(pid, signal.SIGKILL)
        finished(project, result)
    assert (job(result).error_code, keys()) == ("POISON", [])


def test_transactions_that_meet_are_run_again_and_do_not_count(project):
    if project.alias != "postgres":
        pytest.skip("SQLite has one writer, so transactions never meet")
    project.env["ISOLATION_LEVEL"] = "SERIALIZABLE"
    Effect.objects.create(key="counter", pid=0)
    results = [tasks.count_up.enqueue("counter") for _ in range(12)]
    project.run("runworker", "--batch", "--processes", "4")
    with project.worker("--processes", "4"):
        finished(project, *results)
    assert Effect.objects.get(key="counter").pid == 12
    assert [job(result).attempts for result in results] == [1] * 12
    assert {outcome for result in results for outcome in outcomes(result)} == {"released"}


def test_the_lock_of_sqlite_is_waited_for(project, tmp_path):
    if project.alias != "default":
        pytest.skip("other databases have no such lock")
    options(project, lease=4)
    mark = tmp_path / "mark"
    result = tasks.leave_atomically.enqueue("kept", "lock", str(mark))
    others = [tasks.leave.enqueue(str(number)) for number in range(20)]
    with project.worker("--processes", "3") as worker:
        project.wait_for(mark.exists)
        finished(project, result, *others)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output
    assert "lost its lease" not in worker.output
    assert not Job.objects.exclude(status="SUCCESSFUL", crashes=0, attempts=1).exists()


def test_run_jobs_does_the_same(project):
    good, bad = tasks.leave_atomically.enqueue("good"), tasks.leave_atomically.enqueue("bad", "raise")
    assert len(run_jobs()) == 3
    assert (job(good).status, job(bad).status) == ("SUCCESSFUL", "FAILED")


def test_a_coroutine_function_cannot_be_atomic():
    async def coroutine(): ...

    with pytest.raises(TypeError, match="atomic=True needs a plain function"):
        task(atomic=True)(coroutine)
    with pytest.raises(TypeError, match="atomic must be True or False"):
        task(atomic="yes")(keys)


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_the_commit_is_resolved(storage_alias, monkeypatch, committed):
    """The connection breaks between a commit and its answer: it was carried out, or it was not."""
    storage = storage_for(storage_alias)
    result = tasks.leave_nothing_atomically.enqueue()
    name = tasks.leave_nothing_atomically.name
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[name])
    (claimed,) = storage.jobs.claim(claim, 1)
    connection = connections[storage_alias]

    def commit():
        connection.connection.commit() if committed else connection.connection.rollback()
        raise OperationalError("the server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", commit)
        outcome = Runner(task_backends["default"], str(uuid.uuid4())).run(claimed)
    assert (outcome.in_doubt, outcome.is_written, outcome.is_final) == (True, False, False)
    ((told,), written) = write_outcomes(storage, [outcome])
    row = Job.objects.using(storage_alias).get(id=result.id)
    if committed:
        assert (told.status, written) == (JobStatus.SUCCESSFUL, {claimed.id: JobStatus.SUCCESSFUL})
        assert (row.status, row.return_value, row.attempts) == ("SUCCESSFUL", "done", 1)
    else:
        assert written == {claimed.id: JobStatus.READY}
        assert (row.status, row.attempts, row.crashes) == ("READY", 0, 0)
        (attempt,) = Attempt.objects.using(storage_alias).filter(job_id=claimed.id)
        assert (attempt.outcome, attempt.error_code) == ("released", "COMMIT_UNKNOWN")
