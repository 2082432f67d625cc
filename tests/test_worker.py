"""The whole path, from an enqueue to its result, by way of real worker processes on every database."""

import json
import os
import signal
import uuid
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import psutil
import pytest
from django.db import transaction
from django.utils import timezone

from django_tasks_q import compat
from django_tasks_q.definition.result import TaskResult
from django_tasks_q.models import Attempt, Job, Worker

from .conftest import on_one_database
from .tasksapp import tasks
from .tasksapp.models import Effect

pytestmark = pytest.mark.every_pair


def finished(project, *results: TaskResult, timeout: float = 30):
    """Wait until jobs have ended, and answer their results as they are then."""

    def look():
        for result in results:
            result.refresh()
        return all(result.is_finished for result in results)

    project.wait_for(look, timeout)
    return results[0] if len(results) == 1 else results


def job(result):
    return Job.objects.get(id=result.id)


def outcomes(result):
    return [attempt.outcome for attempt in Attempt.objects.filter(job_id=result.id)]


def options(project, **values):
    project.env["TASKS_OPTIONS"] = json.dumps({name.upper(): value for name, value in values.items()})


def test_a_batch_runs_what_is_there_and_ends(project):
    added = tasks.add.enqueue(2, b=3)
    awaited = tasks.async_add.enqueue(1, 1)
    named = tasks.named.enqueue()
    done = project.run("runworker", "--batch", "--processes", "2")
    added, awaited, named = finished(project, added, awaited, named, timeout=1)
    assert (added.return_value, awaited.return_value, named.return_value) == (5, 2, "named")
    assert added.status == compat.TaskResultStatus.SUCCESSFUL
    assert "3 succeeded" in done.stdout
    assert done.stderr == ""


def test_a_batch_ends_without_jobs_whose_rows_are_held(project):
    if project.alias == "default":
        pytest.skip("SQLite locks no rows")
    project.env["EXTRA_APPS"] = json.dumps(["tests.hardship"])
    project.env["HARDSHIP"] = json.dumps({"constants": {"django_tasks_q.worker.fetcher.LOCKED_FOR": 0.3}})
    held, free = tasks.noop.enqueue(), tasks.noop.enqueue()
    with transaction.atomic(using=project.alias):
        list(Job.objects.filter(id=held.id).select_for_update())
        done = project.run("runworker", "--batch", "--processes", "1", timeout=20)
        assert f"ends without 1 jobs, since other transactions hold their rows: {held.id}" in done.stderr
        assert "1 task" not in done.stdout.partition("tasks,")[0]
        assert ", 1 process, " in done.stdout
        assert job(free).status == "SUCCESSFUL"
    assert job(held).status == "READY"


def test_a_long_job_holds_up_none_of_a_thousand_short_ones(project, tmp_path):
    """They are handed out by the dozen, and those that were handed out together with it move on."""
    gate = tmp_path / "gate"
    tasks.noop.enqueue_many([()] * 500)  # so that jobs are known to be short
    long = tasks.wait_for_file.enqueue(str(gate))
    tasks.noop.enqueue_many([()] * 500)
    with project.worker("--processes", "2"):
        project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == 1000, 60)
        ended = sorted(Job.objects.filter(status="SUCCESSFUL").values_list("finished_at", flat=True))
        assert job(long).status == "RUNNING"
        gate.touch()
        assert finished(project, long)
    # The child that had it was found out after 20 ms. The rest is for a busy machine.
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(ended)]
    assert max(gaps) < 1.0


@on_one_database
def test_large_calls_among_small_ones_are_all_finished(project):
    """What a child is handed at once is counted in bytes too, or it reads for longer than it may wait."""
    tasks.noop.enqueue_many([()] * 500)  # so that jobs are known to be short
    for size, count in ((250_000, 60), (20_000, 100), (5_000, 200)):
        tasks.length.enqueue_many([("x" * size,)] * count)
    project.run("runworker", "--batch", "--processes", "1", timeout=30)
    assert Job.objects.filter(status="SUCCESSFUL", crashes=0, attempts=1).count() == 860


def test_the_shop_works(project):
    from testproject.shop.models import Email, Order, Product
    from testproject.shop.tasks import process_order

    product = Product.objects.create(name="Cup", price="3.50", stock=5)
    order = Order.objects.create(email="ada@example.com")
    order.lines.create(product=product, quantity=2, price=product.price)
    result = process_order.enqueue(order.pk)
    project.run("runworker", "--batch", "--processes", "2")
    result.refresh()
    assert result.return_value["status"] == "paid"
    product.refresh_from_db()
    assert product.stock == 3
    assert Email.objects.get().sent_at is not None


@on_one_database
def test_the_context_tells_of_the_run(project):
    result = tasks.describe.enqueue(extra="ä")
    project.run("runworker", "--batch", "--processes", "1")
    told = finished(project, result).return_value
    assert told == {
        "attempt": 1,
        "job_id": result.id,
        "result_id": result.id,
        "worker_id": result.worker_ids[0],
        "worker_ids": result.worker_ids,
        "status": "RUNNING",
        "extra": "ä",
    }


def test_failed_attempts_are_retried_until_one_succeeds(project):
    good, bad = tasks.succeed_at.enqueue(3), tasks.fail_thrice.enqueue()
    project.run("runworker", "--batch", "--processes", "2")
    good, bad = finished(project, good, bad)
    assert (good.return_value, good.attempts, len(good.errors)) == (3, 3, 2)
    assert outcomes(good) == ["failed", "failed", "successful"]
    assert (bad.status, bad.attempts, len(bad.errors)) == (compat.TaskResultStatus.FAILED, 3, 3)
    assert "ValueError: again" in bad.errors[0].traceback


def test_a_retry_waits_in_the_database(project):
    result = tasks.fail_slowly.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    row = job(result)
    assert (row.status, row.attempts, row.is_retrying) == ("SCHEDULED", 1, True)
    assert 3590 < (row.run_after - timezone.now()).total_seconds() <= 3600


@on_one_database
def test_only_what_the_rules_name_is_retried(project):
    results = [tasks.fail_with.enqueue(kind) for kind in ("connection", "pipe", "value")]
    project.run("runworker", "--batch", "--processes", "2")
    assert [result.attempts for result in finished(project, *results)] == [5, 1, 1]


@on_one_database
@pytest.mark.parametrize("how", ["loop", "sleep", "stubborn"])
def test_a_timeout_ends_only_the_offender(project, how):
    options(project, grace=0.4)
    offender = tasks.spin.enqueue(how)
    sibling = tasks.sleep.enqueue(1.5)
    with project.worker("--processes", "2"):
        offender, sibling = finished(project, offender, sibling)
    assert sibling.status == compat.TaskResultStatus.SUCCESSFUL
    row = job(offender)
    assert (row.status, row.error_code, row.attempts) == ("FAILED", "TASK_TIMEOUT", 1)
    assert 0.5 <= row.duration < 1.4
    assert ("was killed" in offender.errors[0].message) == (how == "stubborn")
    assert ("in spin" in offender.errors[0].traceback) == (how != "stubborn")
    assert offender.errors[0].exception_class.__name__ == "TaskTimeout"
    assert not issubclass(offender.errors[0].exception_class, Exception)
    assert outcomes(offender) == ["timeout"]


@pytest.mark.parametrize("how", ["sleep", "query"])
def test_a_task_can_clean_up_after_its_timeout(project, tmp_path, how):
    if how == "query" and project.alias != "postgres":
        pytest.skip("only PostgreSQL can be asked to sleep")
    mark = tmp_path / "mark"
    result, after = tasks.clean_up.enqueue(str(mark), how), tasks.leave.enqueue("after")
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result, after)
    assert job(result).error_code == "TASK_TIMEOUT"
    assert mark.read_text() == "The attempt ran longer than its timeout of 0.5 seconds."
    assert job(after).fence == 1
    if how == "sleep":
        assert Effect.objects.filter(key="cleaned up").count() == 1


@on_one_database
def test_a_task_may_answer_its_timeout_with_a_result(project):
    result = tasks.finish_in_time.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    assert finished(project, result).return_value == "what there was"


@on_one_database
def test_a_coroutine_is_cancelled_at_its_timeout(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.sleep_async.enqueue(str(mark))
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).error_code, mark.read_text()) == ("TASK_TIMEOUT", "cleaned up")
    assert outcomes(result) == ["timeout"]


@on_one_database
def test_the_context_knows_the_time_that_is_left(project):
    result = tasks.tell_remaining.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    assert finished(project, result).return_value == [True, True]


@on_one_database
@pytest.mark.parametrize("how", ["raise", "return"])
def test_a_task_may_fail_with_a_code(project, how):
    by_rule = tasks.fail_with_code.enqueue("RATE_LIMITED", how=how)
    for_good = tasks.fail_with_code.enqueue("MISSING_EMAIL", retry=False, how=how)
    named = tasks.fail_with_code.using(dont_retry_on=["GONE"]).enqueue("GONE", how=how)
    anyway = tasks.fail_with_code.using(dont_retry_on=["GONE"]).enqueue("GONE", retry=True, how=how)
    project.run("runworker", "--batch", "--processes", "1")
    results = finished(project, by_rule, for_good, named, anyway)
    assert [result.attempts for result in results] == [3, 1, 1, 3]
    assert [job(result).error_code for result in results] == ["RATE_LIMITED", "MISSING_EMAIL", "GONE", "GONE"]
    assert by_rule.errors[0].message == "the reason"
    assert by_rule.errors[0].exception_class.__name__ == "TaskFailure"


@pytest.mark.parametrize("delay", [0, 0.2])
def test_a_snooze_costs_no_attempt(project, tmp_path, delay):
    result = tasks.snooze_once.enqueue(str(tmp_path / "mark"), delay)
    with project.worker("--processes", "1"):
        assert finished(project, result).return_value == 1
    assert (job(result).attempts, job(result).crashes, job(result).max_attempts) == (1, 0, 1)
    assert outcomes(result)[0] == "snoozed"
    assert (result.attempts, result.errors) == (1, [])


@on_one_database
def test_a_timeout_takes_the_processes_that_the_task_started_along(project, tmp_path):
    options(project, grace=0.2)
    mark = tmp_path / "grandchild"
    result = tasks.leave_grandchild.enqueue(str(mark))
    with project.worker("--processes", "1"):
        finished(project, result)
        pid = int(mark.read_text())
        project.wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


@on_one_database
def test_a_timeout_is_retried_when_the_rules_name_it(project):
    result = tasks.spin.using(timeout=0.3, max_attempts=2, backoff=0, retry_on=[TimeoutError]).enqueue()
    with project.worker("--processes", "1"):
        finished(project, result)
    assert outcomes(result) == ["timeout", "timeout"]


@on_one_database
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("kill", "The process was killed by SIGKILL"),
        ("exit", "The process exited with status 0 without an answer"),
        ("abort", "The process was killed by SIGABRT"),
    ],
)
def test_a_task_that_ends_its_process_is_poison_in_the_end(project, how, words):
    poison = tasks.crash.enqueue(how)
    siblings = [tasks.sleep.enqueue(0.05) for _ in range(10)]
    done = project.run("runworker", "--batch", "--processes", "2")
    finished(project, poison, *siblings, timeout=1)
    row = job(poison)
    assert (row.status, row.error_code, row.attempts, row.crashes) == ("FAILED", "POISON", 0, 3)
    assert outcomes(poison) == ["crashed"] * 3
    assert words in poison.errors[0].message
    assert all(result.status == compat.TaskResultStatus.SUCCESSFUL for result in siblings)
    assert all(job(result).fence == 1 or outcomes(result) for result in siblings)
    assert "10 succeeded, 1 failed" in done.stdout


def test_a_crash_costs_no_attempt(project, tmp_path):
    result = tasks.crash_once.enqueue(str(tmp_path / "crashed"))
    project.run("runworker", "--batch", "--processes", "1")
    assert finished(project, result).return_value == "survived"
    assert job(result).max_attempts == job(result).attempts == 1
    assert outcomes(result) == ["crashed", "successful"]
    assert result.attempts == 2


UNSTORABLE = ["object", "set", "nan", "nul", "surrogate", "int key", "deep", "cyclic", "huge"]
HARD = {
    "raise unprintable": "tests.tasksapp.tasks.Unprintable",
    "raise huge": "builtins.ValueError",
    "raise nul": "builtins.ValueError",
    "raise group": "builtins.ExceptionGroup",
    "raise exit": "builtins.SystemExit",
    "raise interrupt": "builtins.KeyboardInterrupt",
    "raise generator exit": "builtins.GeneratorExit",
    "raise local": "tests.tasksapp.tasks.answer.<locals>.Local",
    "raise recursion": "builtins.RecursionError",
}


def test_whatever_a_task_returns_or_raises_is_recorded_and_the_worker_lives(project):
    unstorable = [tasks.answer.enqueue(kind) for kind in UNSTORABLE]
    hard = {kind: tasks.answer.enqueue(kind) for kind in HARD}
    last = tasks.answer.enqueue("fine")
    project.run("runworker", "--batch", "--processes", "1")
    for result in finished(project, *unstorable):
        row = job(result)
        assert (row.status, row.error_code, row.crashes) == ("FAILED", "RESULT_UNSTORABLE", 0), result.args
        assert "The return value" in result.errors[0].message
    finished(project, *hard.values())
    for kind, result in hard.items():
        row = job(result)
        assert (row.status, row.error_code, row.crashes) == ("FAILED", "UNHANDLED_EXCEPTION", 0), kind
        (error,) = result.errors
        assert error.exception_class_path == HARD[kind]
        assert len(error.message.encode()) < 70_000
        assert len(error.traceback.encode()) < 70_000
    assert "a\\x00b \\ud800" in hard["raise nul"].errors[0].message
    assert "ValueError: one" in hard["raise group"].errors[0].traceback
    assert finished(project, last).return_value == "fine"


def test_numbers_come_back_as_they_were(project):
    result = tasks.large_float.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    value = finished(project, result).return_value
    assert value == [1e308, -0.0, 0.1, 12345678901234567890]
    assert [type(number) for number in value] == [float, float, float, int]


@on_one_database
def test_changed_arguments_fail_with_the_binding_error(project):
    result = tasks.change_arguments.using(max_attempts=5).enqueue(old=1)
    Job.objects.filter(id=result.id).update(arguments='[[],{"new":1}]')
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).error_code, job(result).attempts) == ("BAD_ARGUMENTS", 1)
    assert "missing a required argument: 'old'" in result.errors[0].message


def test_a_task_unknown_to_this_worker_stays_for_another(project):
    unknown = tasks.noop.enqueue()
    Job.objects.filter(id=unknown.id).update(task_name="of.the.next.release")
    known = tasks.noop.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    assert (job(unknown).status, job(known).status) == ("READY", "SUCCESSFUL")


def test_connections_are_clean_for_the_next_task(project):
    results = [
        tasks.leave_transaction_open.enqueue(),
        tasks.leave.enqueue("after a transaction"),
        tasks.break_connection.enqueue(),
        tasks.leave.enqueue("after a break"),
    ]
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, *results)
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["after a break", "after a transaction"]


def test_a_connection_that_breaks_in_a_retry_hides_no_error(project):
    result = tasks.break_connection_late.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).status, job(result).crashes) == ("FAILED", 0)
    assert [error.message for error in result.errors] == ["the task's own error"] * 2


def test_spoilt_arguments_fail_the_job_and_nothing_else(project):
    spoilt, fine = tasks.add.enqueue(1), tasks.add.enqueue(2)
    Job.objects.filter(id=spoilt.id).update(arguments="{nonsense", options="")
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, spoilt, fine)
    assert (job(spoilt).error_code, fine.return_value) == ("BAD_ARGUMENTS", 2)


def heard(project):
    lines = (project.directory / "heard").read_text().splitlines()
    return [tuple(line.split()[:3]) for line in lines]


@on_one_database
def test_receivers_hear_of_every_job_before_the_worker_ends(project):
    project.env |= {"EXTRA_APPS": '["tests.listening"]', "HEARD": str(project.directory / "heard")}
    good = [tasks.noop.enqueue() for _ in range(20)]
    bad, retried, poison = tasks.fail.enqueue(), tasks.fail_thrice.enqueue(), tasks.crash.enqueue()
    project.run("runworker", "--batch", "--processes", "2")
    told = heard(project)
    for result in good:
        assert told.count(("started", result.id, "RUNNING")) == 1
        assert told.count(("finished", result.id, "SUCCESSFUL")) == 1
    for result, runs in ((bad, 1), (retried, 3), (poison, 3)):
        assert told.count(("started", result.id, "RUNNING")) == runs
        assert told.count(("finished", result.id, "FAILED")) == 1
    assert len([entry for entry in told if entry[0] == "finished"]) == 23


@on_one_database
def test_a_failure_is_logged_with_its_traceback(project):
    result = tasks.fail.enqueue("the reason")
    done = project.run("runworker", "--batch", "--processes", "1")
    assert f"id={result.id} path=tests.tasksapp.tasks.fail state=FAILED" in done.stderr
    assert "ValueError: the reason" in done.stderr
    assert "NoneType" not in done.stderr


def test_another_database_than_the_backends_own(project, tmp_path):
    retried, bad = tasks.succeed_at.enqueue(2), tasks.fail.enqueue()
    project.env |= {
        "OTHER_DATABASE_URL": project.database_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3",
        "EXTRA_APPS": '["tests.listening"]',
        "HEARD": str(project.directory / "heard"),
    }
    project.run("runworker", "--batch", "--processes", "1", "--database", "other")
    retried, bad = finished(project, retried, bad)
    assert (retried.return_value, job(retried).crashes, bad.attempts) == (2, 0, 1)
    assert ("finished", retried.id, "SUCCESSFUL") in heard(project)


def test_a_task_may_enqueue_others(project):
    result = tasks.enqueue_child.enqueue(3)
    project.run("runworker", "--batch", "--processes", "2")
    children = finished(project, result).return_value
    backend = compat.task_backends["default"]
    assert [backend.get_result(child).return_value for child in children] == [1, 2, 3]


def test_a_deferred_job_starts_when_it_is_due(project):
    with project.worker("--processes", "1"):
        project.wait_for(lambda: Worker.objects.exists())
        result = tasks.noop.using(run_after=timedelta(seconds=1)).enqueue()
        finished(project, result)
    late = job(result).started_at - job(result).run_after
    assert timedelta(0) <= late < timedelta(seconds=1.5)


def test_priority_decides_the_order(project):
    low = [tasks.leave.using(priority=-5).enqueue(f"low {number}") for number in range(3)]
    high = [tasks.leave.using(priority=5).enqueue(f"high {number}") for number in range(3)]
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, *low, *high)
    keys = list(Effect.objects.order_by("id").values_list("key", flat=True))
    assert keys == ["high 0", "high 1", "high 2", "low 0", "low 1", "low 2"]


def test_queues_are_chosen_and_left_out(project):
    results = {queue: tasks.noop.using(queue_name=queue).enqueue() for queue in ("x", "y", "z")}
    project.run("runworker", "--batch", "--queue", "x", "--queue", "y", "--exclude-queue", "y")
    statuses = {queue: job(result).status for queue, result in results.items()}
    assert statuses == {"x": "SUCCESSFUL", "y": "READY", "z": "READY"}


def test_a_worker_stops_after_its_jobs(project):
    tasks.noop.enqueue_many([()] * 5)
    done = project.run("runworker", "--max-jobs", "3", "--processes", "2")
    assert "3 succeeded" in done.stdout
    assert Job.objects.filter(status="READY").count() == 2


@on_one_database
def test_each_job_is_a_line_when_asked_for(project):
    good, bad = tasks.noop.enqueue(), tasks.fail.enqueue("the reason\nand more")
    done = project.run("runworker", "--batch", "--verbosity", "2", "--processes", "1", "--worker-name", "ada")
    assert "Worker ada:" in done.stdout
    assert f"{good.id} tests.tasksapp.tasks.noop successful in" in done.stdout
    assert f"{bad.id} tests.tasksapp.tasks.fail failed in" in done.stdout
    assert "[UNHANDLED_EXCEPTION] builtins.ValueError: the reason\n" in done.stdout
    assert project.run("runworker", "--batch", "--verbosity", "0").stdout == ""


def test_a_slow_job_holds_no_other_back(project, tmp_path):
    go = tmp_path / "go"
    slow = tasks.wait_for_file.enqueue(str(go))
    quick = [tasks.noop.enqueue() for _ in range(300)]
    with project.worker("--processes", "2"):
        finished(project, *quick)
        assert job(slow).status == "RUNNING"
        go.touch()
        finished(project, slow)
    assert not Job.objects.exclude(fence=1).exists()


@on_one_database
def test_a_failure_of_an_odd_class_is_a_failure(project):
    result = tasks.fail_in_own_way.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).error_code, job(result).crashes) == ("TASK_FAILURE", 0)


def test_options_of_another_release_are_passed_over(project):
    result = tasks.fail.using(max_attempts=2, backoff=0).enqueue()
    Job.objects.filter(id=result.id).update(options='{"backoff":{"base":0.0,"curve":"new"},"novel":1}')
    project.run("runworker", "--batch", "--processes", "1")
    assert (job(result).status, job(result).crashes) == ("SCHEDULED", 0)


@on_one_database
def test_processes_that_tasks_fork_can_be_terminated(project):
    result = tasks.terminate_own_process.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    assert finished(project, result).return_value == -signal.SIGTERM


@on_one_database
def test_a_terminal_of_few_letters_is_no_reason_to_stop(project):
    project.env["PYTHONIOENCODING"] = "ascii"
    bad, good = tasks.fail.enqueue("€ and 😀"), tasks.noop.enqueue()
    done = project.run("runworker", "--batch", "--processes", "1")
    finished(project, bad, good)
    assert "\\u20ac and" in done.stdout
    assert bad.errors[0].message == "€ and 😀"


def test_a_worker_with_nothing_more_to_claim_sleeps(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "2", "--max-jobs", "1") as worker:
        project.wait_for(mark.exists)
        parent = psutil.Process(worker.pid)
        before = parent.cpu_times()
        parent.cpu_percent()
        psutil.cpu_percent(1.0)
        spent = sum(parent.cpu_times()[:2]) - sum(before[:2])
        go.touch()
        assert worker.process.wait(15) == 0
    assert spent < 0.5


# Stopping


def test_a_stop_waits_for_running_jobs_and_gives_back_the_rest(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    running = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        waiting = tasks.noop.enqueue()
        worker.process.terminate()
        project.wait_for(lambda: "Stopping" in worker.output)
        go.touch()
        assert worker.process.wait(15) == 0
    assert (job(running).status, job(waiting).status, job(waiting).attempts) == ("SUCCESSFUL", "READY", 0)
    assert Worker.objects.get().stopped_at is not None


@pytest.mark.parametrize("how", ["timeout", "second signal"])
def test_a_stop_that_takes_too_long_gives_running_jobs_back_uncounted(project, tmp_path, how):
    mark = tmp_path / "mark"
    result = tasks.sleep.enqueue(600, str(mark))
    patience = "0.5" if how == "timeout" else "600"
    with project.worker("--processes", "1", "--shutdown-timeout", patience) as worker:
        project.wait_for(mark.exists)
        worker.process.send_signal(signal.SIGINT)
        if how == "second signal":
            project.wait_for(lambda: "Stopping" in worker.output)
            worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(15) == 0
    row = job(result)
    assert (row.status, row.attempts, row.crashes) == ("READY", 0, 0)
    assert outcomes(result) == ["released"]
    assert not psutil.pid_exists(int(mark.read_text()))
    result.refresh()
    assert (result.attempts, result.errors) == (0, [])


@on_one_database
def test_a_signal_to_the_whole_group_is_a_graceful_stop(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    result = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        for process in [psutil.Process(worker.pid), *worker.descendants()]:
            if os.getsid(process.pid) == os.getsid(worker.pid):
                process.send_signal(signal.SIGINT)
        project.wait_for(lambda: "Stopping" in worker.output)
        go.touch()
        assert worker.process.wait(15) == 0
    assert job(result).status == "SUCCESSFUL"


@on_one_database
def test_a_supervisor_may_signal_every_process(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    result = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        for process in [*worker.descendants(), psutil.Process(worker.pid)]:
            process.terminate()
        project.wait_for(lambda: "Stopping" in worker.output)
        go.touch()
        assert worker.process.wait(15) == 0
    assert (job(result).status, job(result).crashes) == ("SUCCESSFUL", 0)


@on_one_database
def test_a_closed_terminal_is_a_graceful_stop(project, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    result = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        worker.process.send_signal(signal.SIGHUP)
        project.wait_for(lambda: "Stopping" in worker.output)
        go.touch()
        assert worker.process.wait(15) == 0
    assert job(result).status == "SUCCESSFUL"


@on_one_database
def test_nothing_is_left_of_a_worker_that_is_killed(project, tmp_path):
    mark = tmp_path / "mark"
    other = tmp_path / "other"
    tasks.sleep.enqueue(600, str(mark))
    tasks.sleep.enqueue(600, str(other))
    with project.worker("--processes", "2") as worker:
        project.wait_for(lambda: mark.exists() and other.exists())
        tree = worker.descendants()
        assert len(tree) == 3
        worker.process.kill()
        _, alive = psutil.wait_procs(tree, timeout=5)
        assert alive == []


# Losing a worker


def test_the_jobs_of_a_killed_worker_are_finished_by_another(project, tmp_path):
    options(project, lease=2)
    marks = [tmp_path / f"mark{number}" for number in range(2)]
    running = [tasks.sleep.using(max_attempts=1).enqueue(3, str(mark)) for mark in marks]
    with project.worker("--processes", "2") as first:
        project.wait_for(lambda: all(mark.exists() for mark in marks))
        first.kill()
    with project.worker("--processes", "2"):
        finished(project, *running)
    for result in running:
        assert result.status == compat.TaskResultStatus.SUCCESSFUL
        # That its code had begun is known to no other worker.
        assert outcomes(result) == ["rescued"]
        assert (job(result).rescues, job(result).crashes, job(result).attempts) == (1, 0, 1)


def freeze(worker):
    tree = [psutil.Process(worker.pid), *worker.descendants()]
    for process in tree:
        process.suspend()
    return tree


def test_a_frozen_worker_that_wakes_cannot_overwrite_the_new_result(project, tmp_path):
    """Unfenced writes would let it: see test_without_the_fence_a_frozen_worker_does_harm."""
    first_pid, second_pid = _run_beside_a_frozen_worker(project, tmp_path)
    row = Job.objects.get()
    assert row.return_value == second_pid != first_pid
    assert (row.status, row.fence) == ("SUCCESSFUL", 2)
    assert outcomes(row) == ["rescued"]


@pytest.mark.once  # that the one above can fail
@on_one_database
def test_without_the_fence_a_frozen_worker_does_harm(project, tmp_path):
    """The proof that the test above can fail: the same scene with fence, state and lease checks off."""
    project.env["EXTRA_APPS"] = json.dumps(["tests.without_fence"])
    first_pid, _ = _run_beside_a_frozen_worker(project, tmp_path)
    assert project.wait_for(lambda: Job.objects.get().return_value == first_pid)


def _run_beside_a_frozen_worker(project, tmp_path):
    """A job is finished by a second worker while the first one is frozen over it; then that one wakes.

    Answers the processes in which the job ran.
    """
    options(project, lease=2)
    go, mark = tmp_path / "go", tmp_path / "mark"
    result = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1") as frozen:
        first_pid = int(project.wait_for(lambda: mark.exists() and mark.read_text()))
        tree = freeze(frozen)
        go.touch()  # the frozen child will find it and answer as soon as it wakes
        with project.worker("--processes", "1"):
            finished(project, result)
            second_pid = result.return_value
            workers = Worker.objects.count()
            # Children first, so that their answer is there when the parent looks.
            for process in reversed(tree):
                with suppress(psutil.NoSuchProcess):  # killed by one that woke before
                    process.resume()
            project.wait_for(
                lambda: "lost its lease" in frozen.output or Job.objects.get().return_value != second_pid
            )
            if "lost its lease" in frozen.output:
                project.wait_for(lambda: Worker.objects.count() > workers)
                # It is a good worker again, under a new id.
                finished(project, tasks.noop.enqueue())
                Job.objects.exclude(id=result.id).delete()
    return first_pid, second_pid


@pytest.mark.parametrize("processes", [4])
def test_many_workers_run_every_job_exactly_once(project, processes):
    # On SQLite they wait for each other at nearly every job.
    count = 2000 if project.alias == "postgres" else 500
    tasks.leave.enqueue_many([(str(number),) for number in range(count)])
    with (
        project.worker("--processes", "1", "--batch") as one,
        project.worker("--processes", "1", "--batch") as two,
        project.worker("--processes", "1", "--batch") as three,
        project.worker("--processes", "1", "--batch") as four,
    ):
        for worker in (one, two, three, four):
            assert worker.process.wait(120) == 0
            assert "Traceback" not in worker.output
    assert Effect.objects.count() == Effect.objects.values("key").distinct().count() == count
    assert Job.objects.filter(status="SUCCESSFUL", attempts=1, crashes=0).count() == count
    assert Job.objects.values("worker_id").distinct().count() > 1
    assert not Attempt.objects.exists()


# Operators' mistakes


@on_one_database
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--processes", "0"], 2, "must be between 1 and 10000"),
        (["--processes", "many"], 2, "'many' is not a whole number"),
        (["--shutdown-timeout", "-1"], 2, "must be between 0 and 86400 seconds"),
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["--backend", "defalt"], 1, "defalt"),
        (["--database", "defalt"], 1, "DATABASES has no alias 'defalt'. Did you mean 'default'?"),
    ],
)
def test_a_wrong_option_is_one_line(project, arguments, code, words):
    done = project.run("runworker", *arguments, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_database_is_one_line(project, tmp_path):
    project.env["DATABASE_URL"] = (
        "postgresql://nobody@127.0.0.1:1/none"
        if project.alias == "postgres"
        else f"sqlite:///{tmp_path}/no/db"
    )
    done = project.run("runworker", "--batch", check=False)
    assert done.returncode == 1
    assert "Database 'default' cannot be used: " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_missing_tables_are_one_line(project, tmp_path, request):
    if project.alias == "postgres":
        project.env["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    else:
        project.env["DATABASE_URL"] = f"sqlite:///{tmp_path}/empty.sqlite3"
    done = project.run("runworker", "--batch", check=False)
    assert done.returncode == 1
    assert "run manage.py migrate" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@on_one_database
def test_the_other_name_of_the_command_works(project):
    result = tasks.noop.enqueue()
    project.run("tasksworker", "--batch", "--processes", "1")
    assert job(result).status == "SUCCESSFUL"


@on_one_database
def test_changed_code_is_loaded_again(project):
    app = project.directory / "reloadable"
    app.mkdir()
    (app / "__init__.py").touch()

    def write(version):
        # The size differs, so that the compiled file of the version before is not taken for this one.
        text = f"from django_tasks_q import task\n@task(name='version')\ndef version(): return {version!r}\n"
        (app / "tasks.py").write_text(text)

    def run():
        job_ = Job(task_name="version", queue_name="default", backend="default", arguments="[[],{}]")
        job_.enqueued_at = timezone.now()
        job_.save(force_insert=True)
        project.wait_for(lambda: Job.objects.get(id=job_.id).is_finished, 40)
        return Job.objects.get(id=job_.id).return_value

    write("one")
    project.env |= {"EXTRA_APPS": '["reloadable"]', "PYTHONPATH": str(project.directory)}
    with project.worker("--processes", "1", "--reload") as worker:
        assert run() == "one"
        write("number two")
        project.wait_for(lambda: Worker.objects.filter(stopped_at__isnull=False).exists(), 40)
        assert run() == "number two"
        assert worker.stop() == 0


def test_ids_of_workers_are_those_of_boots(project):
    result = tasks.noop.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    worker = Worker.objects.get()
    assert result.worker_ids == []
    assert finished(project, result).worker_ids == [str(worker.id)]
    assert isinstance(worker.id, uuid.UUID)
