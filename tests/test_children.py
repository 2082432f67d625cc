"""Children of every kind, by way of real workers: what they run, how it ends, what is left of it."""

import json
import signal
import uuid
from datetime import timedelta

import psutil
import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from django_tasks_q.maintenance.loop import Maintenance
from django_tasks_q.maintenance.unknown_tasks import report_unknown
from django_tasks_q.models import Attempt, Job
from django_tasks_q.storage import Claim, storage_for

from .conftest import on_one_database
from .project import wait_for
from .tasksapp import tasks
from .tasksapp.models import Effect
from .test_worker import finished, job, options, outcomes


def marks(tmp_path, count):
    return [tmp_path / f"mark{number}" for number in range(count)]


def all_exist(paths):
    return all(path.exists() for path in paths)


# Executors


@on_one_database
@pytest.mark.parametrize(("task", "count"), [("wait_in_thread", 4), ("wait_async", 120)])
def test_one_process_runs_many_jobs_at_a_time(project, tmp_path, task, count):
    go, there = tmp_path / "go", marks(tmp_path, count)
    results = [getattr(tasks, task).enqueue(str(go), str(mark)) for mark in there]
    with project.worker("--threads", "4", "--async-concurrency", "120") as worker:
        project.wait_for(lambda: all_exist(there))
        assert len(worker.descendants()) == 2  # the server and one child
        go.touch()
        results = finished(project, *results)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output
    assert len({result.return_value for result in results}) == 1
    assert Job.objects.filter(status="SUCCESSFUL", attempts=1).count() == count
    assert not Attempt.objects.exists()


def test_more_jobs_than_there_is_room_for_wait_in_the_database(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    first = tasks.wait_in_thread.enqueue(str(go), str(mark))
    with project.worker("--threads", "1"):
        project.wait_for(mark.exists)
        others = [tasks.leave_in_thread.enqueue("waits") for _ in range(20)]
        plain = [tasks.leave.enqueue("runs") for _ in range(20)]
        finished(project, *plain)
        assert not Job.objects.filter(id__in=[other.id for other in others]).exclude(status="READY").exists()
        go.touch()
        finished(project, first, *others)


def test_all_kinds_work_side_by_side_on_the_database(project):
    results = [
        task.enqueue(f"{task.name} {number}")
        for number in range(100)
        for task in (tasks.leave, tasks.leave_in_thread, tasks.leave_async)
    ]
    done = project.run("runworker", "--batch", "--processes", "2", "--threads", "4")
    assert "300 succeeded" in done.stdout
    assert done.stderr == ""
    assert Effect.objects.values("key").distinct().count() == Effect.objects.count() == len(results)


@on_one_database
def test_a_project_may_bring_an_executor(project):
    result = tasks.whisper.enqueue("psst")
    project.run("runworker", "--batch")
    assert finished(project, result).return_value == "PSST!"


def test_coroutines_share_few_connections(project):
    if project.alias != "postgres":
        pytest.skip("only a server has sessions")
    keys = [str(number) for number in range(200)]
    tasks.leave_async.enqueue_many([(key,) for key in keys])
    count = tasks.query.enqueue(
        "default", "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    )
    before = len(keys)
    project.run("runworker", "--batch", "--processes", "1", "--async-concurrency", "10")
    assert Effect.objects.count() == before
    assert finished(project, count).return_value < 20


# Timeouts where several jobs share a process


@on_one_database
@pytest.mark.parametrize("how", ["loop", "sleep", "stubborn", "lock"])
def test_a_thread_that_outlives_its_timeout_harms_no_sibling(project, tmp_path, how):
    options(project, grace=0.3)
    go, mark, there = tmp_path / "go", tmp_path / "mark", tmp_path / "there"
    sibling = tasks.wait_in_thread.enqueue(str(go), str(there))
    with project.worker("--threads", "3", "--processes", "1"):
        project.wait_for(there.exists)
        offender = tasks.outlive_in_thread.enqueue(how, str(mark))
        finished(project, offender)
        go.touch()
        after = tasks.leave_in_thread.enqueue("after")
        finished(project, sibling, after)
    assert (job(offender).error_code, outcomes(offender)) == ("TASK_TIMEOUT", ["timeout"])
    assert sibling.return_value  # it ran to its end, if need be in another process
    assert outcomes(sibling) == (["released"] if how == "lock" else [])
    assert mark.exists() == (how == "loop")
    if how == "loop":
        assert "ran longer than its timeout of 0.5 seconds" in offender.errors[0].message


@on_one_database
@pytest.mark.parametrize("how", ["wait", "block", "stubborn"])
def test_a_coroutine_that_outlives_its_timeout_harms_no_sibling(project, tmp_path, how):
    options(project, grace=0.3)
    go, mark, there = tmp_path / "go", tmp_path / "mark", tmp_path / "there"
    sibling = tasks.wait_async.enqueue(str(go), str(there))
    with project.worker("--processes", "1"):
        project.wait_for(there.exists)
        offender = tasks.outlive_async.enqueue(how, str(mark))
        finished(project, offender)
        go.touch()
        after = tasks.async_add.enqueue(1, 2)
        finished(project, sibling, after)
    assert (job(offender).error_code, outcomes(offender)) == ("TASK_TIMEOUT", ["timeout"])
    assert outcomes(sibling) == (["released"] if how == "block" else [])
    assert (mark.read_text() == "cleaned up") == (how == "wait")


@on_one_database
def test_a_sleep_of_the_context_ends_at_the_deadline(project):
    result = tasks.sleep_past_deadline.enqueue()
    project.run("runworker", "--batch")
    assert job(finished(project, result)).error_code == "TASK_TIMEOUT"
    assert job(result).duration < 2


# Endings of a process


@on_one_database
def test_whatever_ends_a_process_ends_one_attempt(project):
    options(project, max_crashes=1, grace=0.2)
    crashes = {how: tasks.end_badly.enqueue(how) for how in ("segfault", "stack")}
    stopped = tasks.end_badly.using(timeout=0.5).enqueue("stop")
    greedy = tasks.allocate.enqueue(2000)
    fine = tasks.add.enqueue(1, 1)
    done = project.run("runworker", "--batch", "--processes", "2")
    finished(project, *crashes.values(), stopped, greedy, fine)
    assert job(crashes["segfault"]).error_code == "POISON"
    # Later Pythons notice before the stack is full.
    assert job(crashes["stack"]).error_code in ("POISON", "UNHANDLED_EXCEPTION")
    attempt = Attempt.objects.get(job_id=crashes["segfault"].id)
    assert (attempt.exit_status, attempt.exception_class) == (-11, "django_tasks_q.exceptions.AttemptCrashed")
    assert "killed by SIGSEGV" in attempt.message
    assert job(stopped).error_code == "TASK_TIMEOUT"
    assert greedy.errors[0].exception_class_path == "builtins.MemoryError"
    assert fine.return_value == 2
    assert "1 succeeded, 4 failed" in done.stdout


@on_one_database
def test_nothing_that_a_task_started_outlives_its_attempt(project, tmp_path):
    mark = tmp_path / "daemon"
    result = tasks.daemonise.enqueue(str(mark))
    with project.worker("--processes", "1"):
        pid = finished(project, result).return_value
        assert pid == int(mark.read_text())
        project.wait_for(lambda: not psutil.pid_exists(pid))


@on_one_database
def test_nothing_that_a_task_started_outlives_the_death_of_its_process(project, tmp_path):
    mark = tmp_path / "daemon"
    result = tasks.daemonise.using(timeout=None).enqueue(str(mark))
    with project.worker("--processes", "1") as worker:
        finished(project, result)
        other = tmp_path / "other"
        thread = tasks.wait_in_thread.enqueue(str(tmp_path / "never"), str(other))
        pid = int(project.wait_for(lambda: other.exists() and other.read_text()))
        daemon = psutil.Popen(["sleep", "600"])  # not the worker's: it stays
        psutil.Process(pid).kill()
        project.wait_for(lambda: outcomes(thread))
        assert daemon.is_running()
        daemon.kill()
        daemon.wait()
        project.wait_for(lambda: pid not in {process.pid for process in worker.descendants()})
    assert outcomes(thread)[0] == "crashed"


@on_one_database
@pytest.mark.parametrize(
    ("flags", "jobs"),
    [
        (["--max-jobs-per-child", "2"], 1),
        (["--max-memory-per-child", "150"], 200),
        (["--max-age-per-child", "0"], 1),
    ],
    ids=["jobs", "memory", "age"],
)
def test_children_are_replaced(project, flags, jobs):
    results = [tasks.hold_memory.enqueue(jobs) for _ in range(4)]
    project.run("runworker", "--batch", "--processes", "1", *flags)
    pids = [result.return_value for result in finished(project, *results)]
    expected = {"--max-jobs-per-child": 2, "--max-memory-per-child": 4, "--max-age-per-child": 4}[flags[0]]
    assert len(set(pids)) == expected
    assert not Job.objects.exclude(status="SUCCESSFUL", crashes=0).exists()


@on_one_database
def test_threads_are_replaced_too(project):
    keys = [str(number) for number in range(12)]
    results = [tasks.leave_in_thread.enqueue(key) for key in keys]
    project.run("runworker", "--batch", "--threads", "2", "--max-jobs-per-child", "3")
    finished(project, *results)
    assert Effect.objects.values("pid").distinct().count() == 4


# Jobs that are not to be run twice


def test_a_job_that_may_run_once_only_fails_with_its_process(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.run_at_most_once.enqueue(str(mark))
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).status, job(result).error_code) == ("FAILED", "CRASHED")
    assert mark.read_text() == "ran\n"


def test_a_job_that_may_run_once_only_fails_with_its_worker(project, tmp_path):
    options(project, lease=2)
    mark = tmp_path / "mark"
    result = tasks.run_at_most_once.enqueue(str(mark), "sleep")
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        worker.kill()
    # Whoever finds it need not know its task.
    Job.objects.filter(id=result.id).update(task_name="of.another.release")
    with project.worker("--processes", "1"):
        finished(project, result)
    assert (job(result).status, job(result).error_code) == ("FAILED", "WORKER_LOST")
    assert mark.read_text() == "ran\n"


def test_a_job_that_may_run_once_only_fails_when_its_worker_stops_too_soon(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.run_at_most_once.enqueue(str(mark), "sleep")
    with project.worker("--processes", "1", "--shutdown-timeout", "0.2") as worker:
        project.wait_for(mark.exists)
        assert worker.stop() == 0
    assert (job(result).status, job(result).error_code) == ("FAILED", "WORKER_STOPPED")


# Expiry


def test_what_is_not_started_in_time_is_never_started(project):
    late = tasks.leave.using(expires_at=timedelta(seconds=-1)).enqueue("late")
    retried = tasks.fail_slowly.using(expires_at=timedelta(hours=1)).enqueue()
    in_time = tasks.leave.using(expires_at=timedelta(hours=1)).enqueue("in time")
    with project.worker("--processes", "1"):
        finished(project, late, in_time)
        project.wait_for(lambda: job(retried).is_retrying)
    assert (job(late).status, job(late).error_code, job(late).attempts) == ("EXPIRED", "EXPIRED", 0)
    assert late.errors[-1].exception_class_path == "django_tasks_q.exceptions.JobExpired"
    assert list(Effect.objects.values_list("key", flat=True)) == ["in time"]
    Job.objects.filter(id=retried.id).update(expires_at=timezone.now())
    with project.worker("--processes", "1"):
        finished(project, retried)
    assert (job(retried).status, job(retried).attempts) == ("EXPIRED", 1)


@pytest.mark.parametrize("task", ["leave_late", "leave_late_in_thread", "leave_late_async"])
def test_what_expires_in_the_hands_of_a_worker_is_not_started(project, tmp_path, task):
    """It was claimed in time, and no child was there for it."""
    go = tmp_path / "go"
    project.env["GO"] = str(go)
    with project.worker("--processes", "1", "--threads", "1"):
        finished(project, tasks.noop.enqueue())  # it is at work
        late = getattr(tasks, task).using(expires_at=timedelta(seconds=2)).enqueue("late")
        in_time = getattr(tasks, task).using(expires_at=timedelta(hours=1)).enqueue("in time")
        project.wait_for(lambda: job(late).status == "RUNNING" or job(late).is_finished)
        finished(project, late)  # while the child still takes its time
        go.touch()
        finished(project, in_time)
    assert job(late).finished_at - job(late).expires_at < timedelta(seconds=1.5)
    assert (job(late).status, job(late).error_code, job(late).attempts) == ("EXPIRED", "EXPIRED", 0)
    assert (job(in_time).status, outcomes(late)) == ("SUCCESSFUL", [])
    assert list(Effect.objects.values_list("key", flat=True)) == ["in time"]


# Starting and stopping


def hardship(project, **constants):
    project.env["EXTRA_APPS"] = json.dumps(["tests.hardship"])
    project.env["HARDSHIP"] = json.dumps({"constants": constants})


@on_one_database
@pytest.mark.parametrize("task", ["never_begin", "begin_badly"])
def test_children_that_cannot_start_end_a_batch_and_cost_no_job(project, task):
    hardship(
        project,
        **{
            "django_tasks_q.worker.children.parent_side.BOOT_TIMEOUT": 0.2,
            "django_tasks_q.worker.starts.PAUSE": 0.01,
        },
    )
    result, other = getattr(tasks, task).enqueue(), tasks.noop.enqueue()
    done = project.run("runworker", "--batch", "--processes", "1", check=False)
    assert done.returncode == 1
    assert finished(project, other).attempts == 1
    assert done.stderr.strip().endswith("5 child processes in a row died while they started.")
    assert ("not today" in done.stderr) == (task == "begin_badly")
    assert (job(result).status, job(result).attempts, job(result).crashes) == ("READY", 0, 0)


def test_the_death_of_the_fork_server_ends_the_worker_and_loses_nothing(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.wait_for_file.enqueue(str(tmp_path / "go"), str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        (server,) = psutil.Process(worker.pid).children()
        server.kill()
        assert worker.process.wait(15) == 1
        assert "The process that starts children is gone." in worker.output
        assert worker.descendants() == set()
    (tmp_path / "go").touch()
    with project.worker("--processes", "1"):
        finished(project, result)
    assert (result.status, outcomes(result)) == ("SUCCESSFUL", ["rescued"])
    assert (job(result).attempts, job(result).crashes) == (1, 0)


@on_one_database
def test_many_signals_are_one_request_to_stop_at_once(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.sleep.enqueue(600, str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        worker.process.terminate()
        project.wait_for(lambda: "Stopping" in worker.output)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            worker.process.send_signal(number)
        assert worker.process.wait(15) == 0
    assert (job(result).status, job(result).attempts, job(result).crashes) == ("READY", 0, 0)


@on_one_database
def test_a_signal_during_the_start_leaves_nothing_behind(project):
    result = tasks.noop.enqueue()
    with project.worker("--processes", "1") as worker:
        worker.process.terminate()
        worker.process.wait(15)
        project.wait_for(lambda: worker.descendants() == set())
    project.run("runworker", "--batch", "--processes", "1")
    assert job(finished(project, result)).attempts == 1


@on_one_database
def test_c_code_that_hears_no_signal_is_killed_in_time(project):
    options(project, grace=0.2)
    result = tasks.match_forever.enqueue()
    with project.worker("--processes", "1"):
        finished(project, result)
    assert (job(result).error_code, job(result).duration < 2) == ("TASK_TIMEOUT", True)


# Receivers of signals


@on_one_database
@pytest.mark.parametrize("task", ["add", "add_in_thread", "async_add"])
@pytest.mark.parametrize("how", ["hang", "raise", "exit"])
def test_receivers_change_no_outcome(project, how, task):
    hardship(project, **{"django_tasks_q.execution.runner.HOOK_LIMIT": 0.3})
    project.env["EXTRA_APPS"] = json.dumps(["tests.hostile", "tests.hardship"])
    project.env["HOSTILE"] = how
    result = getattr(tasks, task).enqueue(1, 2)
    with project.worker("--processes", "1", "--threads", "1") as worker:
        assert finished(project, result).return_value == 3
        assert (job(result).attempts, job(result).crashes, outcomes(result)) == (1, 0, [])
        # Once before the task and once behind it.
        said = "longer than 0.3 seconds" if how == "hang" and task == "async_add" else "in receive\n"
        project.wait_for(lambda: worker.output.count(said) == 2)


# Jobs of tasks that nobody knows


def test_jobs_of_unknown_tasks_are_reported(storage_alias, caplog):
    storage = storage_for(storage_alias)
    for name, age in (("of.the.future", 120), ("of.today", 120), ("of.now", 1)):
        result = tasks.noop.enqueue()
        Job.objects.using(storage_alias).filter(id=result.id).update(
            task_name=name, enqueued_at=timezone.now() - timedelta(seconds=age)
        )
    assert report_unknown(storage, "default", ["of.today"]) == ["of.the.future"]
    assert "for tasks that this worker does not know: 'of.the.future'." in caplog.text
    assert report_unknown(storage, "default", ["of.today", "of.the.future"]) == []
    assert Job.objects.using(storage_alias).filter(status="READY").count() == 3


def test_many_lost_jobs_are_rescued_batch_by_batch(storage_alias):
    storage = storage_for(storage_alias)
    tasks.noop.enqueue_many([()] * 700)
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.noop.name])
    while storage.jobs.claim(claim, 100):
        pass
    maintenance = Maintenance(storage, tasks.noop.get_backend(), [tasks.noop.name])
    assert maintenance.perform(uuid.uuid4(), (), idle=False).ready
    assert Job.objects.using(storage_alias).filter(status="READY", rescues=1).count() == 500
    assert maintenance.seconds_to_next < 0.2
    wait_for(lambda: maintenance.perform(uuid.uuid4(), (), idle=False).ready)
    assert Job.objects.using(storage_alias).filter(status="READY", rescues=1).count() == 700


# Tables of another release


def test_tables_of_an_earlier_release_are_refused_in_one_line(project):
    if project.alias == "mariadb":
        pytest.skip("its tables are not made anew")
    with connections[project.alias].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE name = '0001_initial'")
    try:
        done = project.run("runworker", "--batch", check=False)
    finally:
        MigrationRecorder(connections[project.alias]).record_applied("django_tasks_q", "0001_initial")
    assert done.returncode == 1
    assert "run manage.py migrate. (Not applied: 0001_initial.)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


# What an adversary might try


@on_one_database
def test_a_rule_of_a_coroutine_is_shown_its_earlier_attempts(project):
    result = tasks.fail_by_rule.enqueue()
    project.run("runworker", "--batch")
    finished(project, result)
    assert (job(result).attempts, {error.message for error in result.errors}) == (4, {"again"})


@on_one_database
def test_a_blocking_call_that_hangs_holds_up_no_other_coroutine(project):
    hangs = tasks.hang_in_threads.enqueue()
    with project.worker("--processes", "1"):
        finished(project, hangs)
        after = tasks.leave_async.enqueue("after")
        finished(project, after)
    assert job(hangs).error_code == "TASK_TIMEOUT"
    assert (job(after).started_at - job(hangs).finished_at).total_seconds() < 2
    assert job(after).duration < 2


@on_one_database
def test_a_thread_child_that_was_interrupted_goes_whatever_the_task_makes_of_it(project):
    hides = tasks.hide_timeout.enqueue()
    with project.worker("--processes", "1", "--threads", "1"):
        finished(project, hides)
        after = finished(project, tasks.tell_process.enqueue())
    assert hides.status == "SUCCESSFUL"
    assert after.return_value != hides.return_value


@on_one_database
@pytest.mark.parametrize("task", ["add", "add_in_thread", "async_add"])
def test_receivers_have_time_for_the_last_job_and_hear_of_it_once(project, task):
    heard = project.directory / "heard"
    project.env |= {"EXTRA_APPS": '["tests.hostile"]', "HOSTILE": "dawdle", "HEARD": str(heard)}
    result = getattr(tasks, task).enqueue(1, 2)
    project.run("runworker", "--batch", "--max-jobs-per-child", "1")
    assert finished(project, result).return_value == 3
    assert len(heard.read_text().splitlines()) == 1


#: The main function of a child whose supervisor has gone before the child is ready.
ALONE = """
import os, socket
from django_tasks_q.worker.children.fork_server import Pipes
from django_tasks_q.worker.children.main import main

ours, theirs = socket.socketpair()
ours.close()
reader, writer = os.pipe()
memory = os.memfd_create("test")
os.truncate(memory, 4096)
config = {{"backend": "default", "database": "default", "worker_id": "w", "capacity": "1", "executor": "{}"}}
main(Pipes(theirs, reader, writer, memory), config)
print("ended quietly", flush=True)
os._exit(0)
"""


@on_one_database
@pytest.mark.parametrize("executor", ["process", "thread", "async"])
def test_a_child_ends_quietly_where_its_supervisor_is_gone_before_it_is_ready(project, executor):
    done = project.run("shell", "--command", ALONE.format(executor))
    assert "ended quietly" in done.stdout
    assert "Traceback" not in done.stderr
