"""What is logged and told of the ends of jobs, and in whose context."""

import json
import logging
import sys
import traceback

import django
import pytest
from django.core import mail
from django.utils.log import AdminEmailHandler

from django_tasks_q import compat
from django_tasks_q.actions import cancel
from django_tasks_q.backends import ImmediateBackend
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs

from .attempts import tasks as attempts
from .conftest import on_one_database
from .tasksapp import tasks
from .test_worker import finished

LOGGER = compat._signals.logger.name


@pytest.fixture
def mails(settings):
    """Mails to the administrators, as Django sends them of errors."""
    settings.ADMINS = ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.com")]
    if LOGGER.startswith("django."):  # Django's own configuration has the handler
        yield lambda: mail.outbox
        return
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    yield lambda: mail.outbox
    logger.removeHandler(handler)


def records(caplog):
    return [record for record in caplog.records if record.name == LOGGER and "state=" in record.getMessage()]


@pytest.mark.django_db
def test_a_failure_is_logged_once_with_the_exception_and_the_frames_of_the_task(caplog, mails):
    caplog.set_level("INFO", LOGGER)
    told = []

    def listen(sender, task_result, exception=None, **kwargs):
        told.append((exception, sys.exc_info()[1]))

    compat.task_finished.connect(listen)
    try:
        result = tasks.fail.enqueue("on purpose")
        run_jobs()
    finally:
        compat.task_finished.disconnect(listen)
    (record,) = [record for record in records(caplog) if "state=FAILED" in record.getMessage()]
    kind, error, frames = record.exc_info
    assert (record.levelname, kind, str(error)) == ("ERROR", ValueError, "on purpose")
    assert [frame.name for frame in traceback.extract_tb(frames)] == ["fail"]
    assert (record.job_id, record.task_name) == (result.id, tasks.fail.name)
    assert told == [(error, error)]
    (message,) = mails()
    assert "ValueError" in message.body


@pytest.mark.django_db
def test_jobs_that_somebody_cancelled_are_no_errors(caplog, mails):
    caplog.set_level("INFO", LOGGER)
    attempts.cancel_itself.enqueue_many([()] * 5)
    run_jobs()
    assert set(Job.objects.values_list("status", flat=True)) == {"CANCELLED"}
    logged = [record for record in records(caplog) if "CANCELLED" in record.getMessage()]
    assert [(record.levelname, record.exc_info) for record in logged] == [("INFO", None)] * 5
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not mails()


@on_one_database
def test_waiting_jobs_that_are_cancelled_or_expire_are_no_errors(project):
    waits, runs = tasks.noop.using(queue_name="other").enqueue(), tasks.fail.enqueue()
    with project.worker("--processes", "1", "--queue", "default") as worker:
        finished(project, runs)
        cancel(waits.id)
        finished(project, waits)
        finished(project, tasks.fail.enqueue("the last"))
        # The record is the last that is written of a job.
        project.wait_for(lambda: worker.output.count("state=FAILED") == 2)
        assert "JobCancelled" not in worker.output
        assert "JobFailed" not in worker.output


@pytest.mark.django_db
def test_an_attempt_that_is_tried_again_is_logged_in_one_line(caplog):
    result = tasks.fail_slowly.enqueue()
    run_jobs()
    (line,) = [record for record in caplog.records if record.name == "django_tasks_q.execution"]
    assert (line.levelname, line.exc_info, line.attempt, line.job_id) == ("WARNING", None, 1, result.id)
    text = line.getMessage()
    assert text.startswith(
        f"Job id={result.id} task={tasks.fail_slowly.name}: attempt 1 of 5 failed with builtins.ValueError: "
        "in an hour."
    )
    assert text.endswith("The next attempt starts in 3600 seconds.")


@pytest.mark.django_db
def test_the_message_of_a_retry_is_part_of_a_sentence(caplog):
    tasks.fail.using(max_attempts=2, backoff=3600).enqueue("No reply.")
    run_jobs()
    (line,) = [record for record in caplog.records if record.name == "django_tasks_q.execution"]
    assert "ValueError: No reply. The next attempt" in line.getMessage()


def test_other_backends_are_logged_by_the_framework(caplog, settings):
    caplog.set_level("INFO", LOGGER)
    path = f"{ImmediateBackend.__module__}.{ImmediateBackend.__qualname__}"
    settings.TASKS = {"default": {"BACKEND": path}}
    tasks.fail.enqueue("at once")
    (record,) = [record for record in records(caplog) if "state=FAILED" in record.getMessage()]
    assert (record.levelname, record.exc_info[0]) == ("ERROR", ValueError)


TRACES = [attempts.leave_traces_in_process, attempts.leave_traces_in_thread, attempts.leave_traces_in_loop]


@on_one_database
def test_what_a_job_sets_is_there_for_its_receivers_and_for_nobody_else(project, tmp_path):
    path = tmp_path / "note"
    project.env |= {"EXTRA_APPS": '["tests.attempts"]', "RECEIVERS": "note_ending", "NOTE": str(path)}
    failing = [task.enqueue(f"first-{n}", fails=True) for n, task in enumerate(TRACES)]
    results = [task.enqueue(f"then-{n}-{m}") for n, task in enumerate(TRACES) for m in range(3)]
    with project.worker("--processes", "1", "--threads", "1"):
        finished(project, *failing, *results)
        project.wait_for(lambda: len(path.read_text().splitlines()) == 12)
    assert [result.return_value for result in results] == [[None, 28]] * 9
    lines = sorted(path.read_text().splitlines())
    assert lines == sorted(
        [
            *(f"first-{n} LookupError('first-{n}') True leave_traces first-{n}" for n in range(3)),
            *(f"then-{n}-{m} None True None then-{n}-{m}" for n in range(3) for m in range(3)),
        ]
    )


#: For a process of its own: what Sentry changes, it changes for good.
IN_SENTRY = """
import json
import sentry_sdk
from django_tasks_q.testing import run_jobs
from tests.attempts.tasks import leave_in_sentry

events = []
sentry_sdk.init(dsn="http://key@localhost:1/1", before_send=lambda event, hint: events.append(event))
sentry_sdk.get_isolation_scope().set_tag("process", "base")
leave_in_sentry.enqueue("ada", True)
leave_in_sentry.enqueue("", True)
run_jobs()
sentry_sdk.get_client().close()
for event in events:
    if event.get("exception"):
        kind = event["exception"]["values"][-1]["type"]
        print("event", json.dumps([kind, event.get("user"), event["tags"]["process"]]))
"""


@on_one_database
def test_each_job_has_a_scope_of_its_own_in_sentry(project):
    project.env["EXTRA_APPS"] = '["tests.attempts"]'
    lines = project.run("shell", "--command", IN_SENTRY).stdout.splitlines()
    events = [json.loads(line.removeprefix("event ")) for line in lines if line.startswith("event ")]
    assert events == [["LookupError", {"id": "ada"}, "base"], ["LookupError", None, "base"]]
