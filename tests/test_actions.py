"""What people do to jobs, in every state these can be in, on every database."""

import uuid
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_tasks_q import actions, compat
from django_tasks_q.actions import NAMED, Reason
from django_tasks_q.admin import verbs as admin_verbs
from django_tasks_q.exceptions import TaskNotRegistered, UnserializableValue
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import FINAL, STARTABLE, TRANSITIONS, JobStatus
from django_tasks_q.models import Attempt, Job, LogLine, Progress, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.signals import action_performed
from django_tasks_q.storage import Claim, LogNote, ProgressNote, storage_for

from .tasksapp import tasks

ME = uuid.uuid4()
HOUR = timedelta(hours=1)
SOON = timezone.now() + HOUR


@pytest.fixture
def heard():
    found = []

    def receiver(sender, action, ids, user, reason, using, **kwargs):
        found.append((sender.__name__, action, set(ids), user, reason))

    action_performed.connect(receiver)
    yield found
    action_performed.disconnect(receiver)


@pytest.fixture
def alias(storage_alias):
    return storage_alias


def add(alias, status=JobStatus.READY, **values):
    """A job in a state, as it would have come there."""
    now = timezone.now()
    usual = {}
    if status in FINAL:
        usual = {
            "finished_at": now,
            "started_at": now,
            "fence": 3,
            "attempts": 2,
            "crashes": 1,
            "rescues": 4,
            "begun_fence": 3,
            "duration": 1.0,
        }
        usual |= {"error_code": "" if status == JobStatus.SUCCESSFUL else "X", "worker_id": ME}
    elif status == JobStatus.RUNNING:
        usual = {"worker_id": ME, "fence": 1, "attempts": 1, "started_at": now, "last_attempted_at": now}
    elif status == JobStatus.SCHEDULED:
        usual = {"run_after": now + HOUR}
    values = {"task_name": tasks.add.name, "queue_name": "default", "backend": "default", **usual, **values}
    values = {"arguments": "[[2],{}]", "enqueued_at": now, **values}
    job = Job(id=uuid7(), status=status, **values)
    Job.objects.using(alias).bulk_create([job])
    return job


def row(alias, job):
    return Job.objects.using(alias).get(id=getattr(job, "id", job))


def claim(alias, name=tasks.add.name):
    return storage_for(alias).jobs.claim(Claim(worker_id=ME, backend="default", task_names=[name]), 100)


VERBS = {
    "retry": (lambda id, **more: actions.retry(id, **more), {"FAILED", "CANCELLED", "EXPIRED"}, "READY"),
    "retry later": (
        lambda id, **more: actions.retry(id, at=HOUR, **more),
        {"FAILED", "CANCELLED", "EXPIRED"},
        "SCHEDULED",
    ),
    "cancel": (lambda id, **more: actions.cancel(id, **more), {*STARTABLE}, "CANCELLED"),
    "discard": (lambda id, **more: actions.discard(id, **more), {*STARTABLE}, "CANCELLED"),
    "dismiss": (lambda id, **more: actions.dismiss(id, **more), {"FAILED", "EXPIRED"}, None),
    "delete": (lambda id, **more: actions.delete(id, **more), {*FINAL}, "gone"),
    "reschedule": (
        lambda id, **more: actions.reschedule(id, SOON, **more),
        {"READY", "SCHEDULED"},
        "SCHEDULED",
    ),
    "reschedule to the past": (
        lambda id, **more: actions.reschedule(id, -HOUR, **more),
        {"SCHEDULED"},
        "READY",
    ),
    "run_now": (lambda id, **more: actions.run_now(id, **more), {"SCHEDULED"}, "READY"),
    "change": (lambda id, **more: actions.change(id, priority=9, **more), {*STARTABLE}, None),
    "pin": (lambda id, **more: actions.pin(id, **more), {*JobStatus}, None),
}
#: The arguments of these by name.
ARGUMENTS = {"reschedule": {"at": SOON}, "reschedule to the past": {"at": -HOUR}, "change": {"priority": 9}}
UNTOUCHED = (
    "status",
    "priority",
    "run_after",
    "attempts",
    "finished_at",
    "dismissed_at",
    "pinned_at",
    "fence",
)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", JobStatus)
def test_a_verb_changes_jobs_in_its_states_and_no_others(alias, heard, verb, status):
    perform, start, end = VERBS[verb]
    job = add(alias, status)
    before = [getattr(row(alias, job), name) for name in UNTOUCHED]
    answer = perform(job.id, using=alias, user="ada", reason="because")
    if status in start:
        assert (answer.done, answer.skipped) == ({job.id}, {})
        found = Job.objects.using(alias).filter(id=job.id).first()
        assert (found.status if found else "gone") == (end or status)
        name = verb.split()[0]
        assert heard == [("Job", name, {job.id}, "ada", "because")]
        if end not in (None, "gone", status):
            assert name.replace("_", " ") in TRANSITIONS[status][JobStatus(end)].split(", ")
        return
    if verb == "cancel" and status == JobStatus.RUNNING:
        assert (answer.done, answer.requested, answer.skipped) == (set(), {job.id}, {})
        assert row(alias, job).status == "RUNNING"
        return
    assert answer.done == set()
    ((reason, ids),) = answer.skipped.items()
    assert ids == {job.id}
    if verb in ("run_now", "reschedule to the past") and status == JobStatus.READY:  # nothing keeps it back
        assert reason == Reason.UNCHANGED
    else:
        assert reason in (Reason.RUNNING, Reason.ENDED, Reason.WAITING, Reason.SUCCEEDED)
    assert [getattr(row(alias, job), name) for name in UNTOUCHED] == before
    assert heard == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_may_be_repeated(alias, heard, verb):
    """The second time there is nothing left to do, and nobody is told."""
    perform, start, _ = VERBS[verb]
    job = add(alias, JobStatus(sorted(start)[0]))
    assert perform(job.id, using=alias).done == {job.id}
    heard.clear()
    first = (
        Job.objects.using(alias).filter(id=job.id).values("status", "priority", "fence", "attempts").first()
    )
    answer = perform(job.id, using=alias)
    assert (answer.done, list(map(len, answer.skipped.values())), heard) == (set(), [1], [])
    again = (
        Job.objects.using(alias).filter(id=job.id).values("status", "priority", "fence", "attempts").first()
    )
    assert first == again


@pytest.mark.parametrize("verb", [*VERBS, "cancel a running job", "unpin"])
def test_what_a_verb_has_changed_is_not_pending(alias, verb):
    name = verb.split()[0]
    status = "RUNNING" if "running" in verb else sorted(NAMED[name].states)[-1]
    if verb in VERBS:
        status = min(VERBS[verb][1])
    job = add(alias, JobStatus(status), pinned_at=timezone.now() if verb == "unpin" else None)
    arguments = ARGUMENTS.get(verb, {})

    def pending(**values):
        jobs = Job.objects.using(alias).filter(status__in=NAMED[name].states)
        return [job.id for job in NAMED[name].pending(jobs, reason="because", **values)]

    assert pending(**arguments) == pending() == [job.id]
    assert admin_verbs.VERBS[name].fits(row(alias, job))
    getattr(actions, name)(job.id, using=alias, **arguments)
    assert pending(**arguments) == []
    if name not in ARGUMENTS and verb != "delete":
        assert not admin_verbs.VERBS[name].fits(row(alias, job))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_part_of_the_callers_transaction(alias, heard, verb):
    perform, start, _ = VERBS[verb]
    job = add(alias, JobStatus(sorted(start)[0]))
    before = [getattr(row(alias, job), name) for name in UNTOUCHED]
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
        assert perform(job.id, using=alias).done == {job.id}
        raise ZeroDivisionError
    assert [getattr(row(alias, job), name) for name in UNTOUCHED] == before
    assert heard == []


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_not_there_is_gone_and_what_is_no_id_refused(alias, heard, verb):
    perform, _, _ = VERBS[verb]
    unknown = uuid.uuid4()
    assert perform([unknown, str(unknown)], using=alias).skipped == {Reason.GONE: {unknown}}
    assert perform([], using=alias).done == set()
    with pytest.raises(ValueError, match="badly formed"):
        perform("nonsense", using=alias)
    with pytest.raises(ValueError, match="reason must be 1 to 255 printable characters"):
        perform(unknown, using=alias, reason="a\nb")
    assert heard == []


def test_each_of_many_is_answered_by_its_own_state(alias, heard):
    jobs = {status: add(alias, status) for status in JobStatus}
    unknown = uuid.uuid4()
    answer = actions.retry([*(job.id for job in jobs.values()), unknown], using=alias)
    done = {jobs[status].id for status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)}
    assert answer.done == done
    assert answer.skipped == {
        Reason.WAITING: {jobs[status].id for status in STARTABLE},
        Reason.RUNNING: {jobs[JobStatus.RUNNING].id},
        Reason.SUCCEEDED: {jobs[JobStatus.SUCCESSFUL].id},
        Reason.GONE: {unknown},
    }
    assert [ids for _, _, ids, _, _ in heard] == [done]


def test_a_receiver_that_raises_harms_nobody(alias, caplog):
    def receiver(**kwargs):
        raise ZeroDivisionError

    action_performed.connect(receiver)
    try:
        assert actions.pin(add(alias).id, using=alias).done
    finally:
        action_performed.disconnect(receiver)
    assert "ZeroDivisionError" in caplog.text


# Once more


def test_a_retried_job_is_as_if_it_had_never_been_started(alias):
    job = add(alias, JobStatus.FAILED, max_attempts=2, result="1", dismissed_at=timezone.now())
    Attempt.objects.using(alias).create(
        job_id=job.id, number=1, fence=3, outcome="failed", finished_at=timezone.now()
    )
    actions.cancel(job.id, using=alias)
    actions.retry(job.id, using=alias)
    found = row(alias, job)
    assert (found.status, found.attempts, found.crashes, found.error_code) == ("READY", 0, 0, "")
    assert (found.rescues, found.begun_fence) == (0, None)
    assert (found.finished_at, found.duration, found.result, found.dismissed_at) == (None,) * 4
    (claimed,) = claim(alias)
    assert (claimed.fence, claimed.attempts) == (4, 1)
    failure = Failure("X", "a.B", "", "")
    storage_for(alias).jobs.finish([Outcome.failed(job.id, 4, failure, None, 0.1)])
    assert list(Attempt.objects.using(alias).values_list("fence", "number")) == [(3, 1), (4, 1)]


def test_a_retry_wipes_a_cancellation(alias):
    job = add(alias)
    actions.cancel(job.id, reason="no", using=alias)
    actions.retry(job.id, using=alias)
    found = row(alias, job)
    assert (found.cancel_requested_at, found.cancel_reason) == (None, "")
    (claimed,) = claim(alias)
    storage_for(alias).jobs.finish([Outcome.released(claimed.id, claimed.fence)])
    assert row(alias, job).status == "READY"


def test_a_retry_takes_away_an_expiry_that_would_forbid_it(alias):
    past, later = timezone.now() - HOUR, timezone.now() + HOUR
    gone = add(alias, JobStatus.EXPIRED, expires_at=past)
    kept = add(alias, JobStatus.FAILED, expires_at=later)
    before_start = add(alias, JobStatus.FAILED, expires_at=later)
    actions.retry([gone.id, kept.id], using=alias)
    actions.retry(before_start.id, at=2 * HOUR, using=alias)
    assert row(alias, gone).expires_at is None
    assert abs(row(alias, kept).expires_at - later) < timedelta(seconds=1)
    found = row(alias, before_start)
    assert (found.status, found.expires_at) == ("SCHEDULED", None)
    assert abs(found.run_after - timezone.now() - 2 * HOUR) < timedelta(minutes=1)


def test_an_attempt_from_before_the_retry_is_fenced_off(alias):
    add(alias)
    (old,) = claim(alias)
    storage = storage_for(alias)
    storage.jobs.finish([Outcome.failed(old.id, old.fence, Failure("X", "a.B", "", ""), None, 0.1)])
    actions.retry(old.id, using=alias)
    (new,) = claim(alias)
    assert storage.jobs.finish([Outcome.successful(old.id, old.fence, "1", 0.1)]) == {}
    assert set(storage.jobs.finish([Outcome.successful(new.id, new.fence, "2", 0.1)])) == {old.id}


def test_a_job_run_again_is_a_new_one_of_the_same_kind(alias, heard):
    old = tasks.add.using(priority=3, queue_name="q", max_attempts=4, tags=["t"], timeout=7).enqueue(1, b=2)
    answer = actions.run_again(old.id, using=alias, user="ada")
    assert (answer.done, answer.skipped) == ({uuid.UUID(old.id)}, {})
    new, first = row(alias, uuid.UUID(answer.result.id)), row(alias, uuid.UUID(old.id))
    assert new.id != first.id
    for name in (
        "task_name",
        "queue_name",
        "backend",
        "priority",
        "max_attempts",
        "tags",
        "timeout",
        "arguments",
    ):
        assert getattr(new, name) == getattr(first, name), name
    assert (new.status, new.parent_id, new.fence, new.run_after) == ("READY", first.id, 0, None)
    assert heard == [("Job", "run_again", {first.id}, "ada", "")]
    assert answer.result.status == compat.TaskResultStatus.READY


def test_edited_arguments_are_bound_and_encoded(alias):
    old = tasks.add.enqueue(1, b=2)
    again = actions.run_again(old.id, args=[5], using=alias)
    assert row(alias, uuid.UUID(again.result.id)).arguments == '[[5],{"b":2}]'
    again = actions.run_again(old.id, args=[], kwargs={"a": 7}, using=alias)
    assert row(alias, uuid.UUID(again.result.id)).arguments == '[[],{"a":7}]'
    count = Job.objects.using(alias).count()
    with pytest.raises(TypeError, match="multiple values"):
        actions.run_again(old.id, kwargs={"a": 7}, using=alias)
    with pytest.raises(UnserializableValue):
        actions.run_again(old.id, args=[object()], using=alias)
    unknown = add(alias, task_name="of.another.release")
    with pytest.raises(TaskNotRegistered):
        actions.run_again(unknown.id, args=[1], using=alias)
    assert actions.run_again(unknown.id, using=alias).result.task.name == "of.another.release"
    assert actions.run_again(ME, using=alias) == (set(), {Reason.GONE: {ME}}, None)
    assert Job.objects.using(alias).count() == count + 2


def test_a_job_run_again_expires_as_long_after_as_the_first(alias):
    now = timezone.now()
    old = add(alias, JobStatus.EXPIRED, enqueued_at=now - 9 * HOUR, expires_at=now - 8 * HOUR)
    new = row(alias, uuid.UUID(actions.run_again(old.id, using=alias).result.id))
    assert new.expires_at - new.enqueued_at == HOUR


# Waiting


def test_a_job_that_is_run_now_is_claimed(alias):
    job = add(alias, JobStatus.SCHEDULED, attempts=1)
    assert claim(alias) == []
    actions.run_now(job.id, using=alias)
    assert [found.id for found in claim(alias)] == [job.id]


def test_a_job_that_is_put_off_is_not(alias):
    job = add(alias)
    moment = timezone.now() + HOUR
    actions.reschedule(job.id, moment, using=alias)
    assert claim(alias) == []
    assert abs(row(alias, job).run_after - moment) < timedelta(milliseconds=1)


def test_values_that_no_job_could_have_are_refused(alias, settings):
    job = add(alias)
    with pytest.raises(TypeError, match="needs a priority or a queue_name"):
        actions.change(job.id, using=alias)
    with pytest.raises(ValueError, match="priority must be a whole number between -100 and 100"):
        actions.change(job.id, priority=101, using=alias)
    with pytest.raises(ValueError, match="queue_name must be 1 to 128"):
        actions.change(job.id, queue_name="x" * 129, using=alias)
    with pytest.raises(TypeError, match="at must be a datetime or a timedelta"):
        actions.reschedule(job.id, "tomorrow", using=alias)
    with pytest.raises(ValueError, match="at must be an aware datetime"):
        actions.reschedule(job.id, timezone.now().replace(tzinfo=None), using=alias)
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["default", "mail"]}}
    with pytest.raises(ValueError, match="'post' is not in"):
        actions.change(job.id, queue_name="post", using=alias)
    assert actions.change(job.id, queue_name="mail", priority=-5, using=alias).done
    assert (row(alias, job).queue_name, row(alias, job).priority) == ("mail", -5)


# What is kept


def test_a_deleted_job_leaves_nothing(alias):
    add(alias)
    (job,) = claim(alias)
    storage = storage_for(alias)
    storage.progress.save(
        [ProgressNote(job.id, job.fence, 1.0, None, ""), LogNote(job.id, job.fence, 20, "l", "m", 1.0)]
    )
    storage.jobs.finish([Outcome.failed(job.id, job.fence, Failure("X", "a.B", "", ""), None, 0.1)])
    assert actions.delete(job.id, using=alias).done == {job.id}
    for model in (Job, Attempt, Progress, LogLine):
        assert model.objects.using(alias).count() == 0


def test_a_pinned_job_is_never_pruned_nor_its_result_cleared(alias):
    long_ago = timezone.now() - timedelta(days=400)
    storage = storage_for(alias)
    values = {"finished_at": long_ago, "result": "1"}
    pinned = [
        add(alias, JobStatus.SUCCESSFUL, **values),
        add(alias, JobStatus.SUCCESSFUL, retention=60.0, **values),
        add(alias, JobStatus.SUCCESSFUL, result_ttl=60.0, **values),
    ]

    def prune():
        return (
            storage.maintenance.prune("default", FINAL, 3600.0),
            storage.maintenance.prune_retained("default", 60.0),
            storage.maintenance.clear_results("default", 60.0),
        )

    ids = [job.id for job in pinned]
    assert actions.pin(ids, using=alias).done == {*ids}
    assert actions.pin(ids, using=alias).skipped == {Reason.UNCHANGED: {*ids}}
    assert prune() == (0, 0, 0)
    assert (
        storage.maintenance.own_times("default", "retention")
        == storage.maintenance.own_times("default", "result_ttl")
        == []
    )
    assert {*Job.objects.using(alias).values_list("result", flat=True)} == {"1"}
    assert actions.unpin(ids[1:], using=alias).done == {*ids[1:]}
    assert storage.maintenance.own_times("default", "retention") == [60.0]
    assert storage.maintenance.clear_results("default", 60.0) == 1
    assert prune() == (1, 1, 0)
    assert [job.id for job in Job.objects.using(alias).all()] == ids[:1]


def test_dismissed_failures_are_left_out(alias):
    seen, unseen = add(alias, JobStatus.FAILED), add(alias, JobStatus.FAILED)
    actions.dismiss(seen.id, using=alias)
    assert list(Job.objects.using(alias).undismissed()) == [unseen]
    actions.retry(seen.id, using=alias)
    assert row(alias, seen).dismissed_at is None


def test_all_that_match_are_dealt_with_by_the_thousand(alias):
    jobs = [add(alias, JobStatus.FAILED) for _ in range(5)]
    add(alias)
    failed = Job.objects.using(alias).filter(status=JobStatus.FAILED).order_by("-finished_at")
    first = actions.matching(failed, cap=3)
    assert first == ([job.id for job in jobs[:3]], True)
    actions.retry(first.ids, using=alias)
    assert actions.matching(failed, cap=3) == ([job.id for job in jobs[3:]], False)
    for bad, words in ((failed[:3], "not sliced"), (Worker.objects.all(), "of jobs")):
        with pytest.raises(ValueError, match=words):
            actions.matching(bad)
    with pytest.raises(ValueError, match="at least 1"):
        actions.matching(failed, cap=0)


# Who hears of it


def test_receivers_of_the_framework_hear_of_what_was_discarded(alias):
    heard = []

    def receiver(task_result, **kwargs):
        heard.append((task_result.id, str(task_result.status)))

    compat.task_finished.connect(receiver)
    try:
        job = add(alias)
        actions.discard(job.id, reason="no", using=alias)
    finally:
        compat.task_finished.disconnect(receiver)
    assert heard == [(str(job.id), "FAILED")]
    assert (row(alias, job).error_code, row(alias, job).cancel_reason) == ("CANCELLED", "no")


@pytest.mark.parametrize("verb", ["retry", "run_now", "change", "reschedule to the past"])
@pytest.mark.django_db(transaction=True, databases=["postgres"])
def test_workers_are_told_of_jobs_to_run(settings, verb, monkeypatch):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    storage = storage_for("postgres")
    monkeypatch.setattr(storage.notifications._notifier, "sent_at", {})
    listener = storage.notifications.listen("default")
    perform, start, _ = VERBS[verb]
    job = add("postgres", JobStatus(sorted(start)[-1]))
    with transaction.atomic(using="postgres"):
        perform(job.id, using="postgres")
        assert not listener.drain().jobs
    try:
        from .project import wait_for

        wait_for(lambda: listener.drain().jobs)
    finally:
        listener.close()


# What it takes


def test_each_verb_has_its_permission():
    from django.contrib.auth.management import _get_all_permissions

    from django_tasks_q.models import Queue, Statistic

    def codenames(model):
        return {codename for codename, _ in _get_all_permissions(model._meta)}

    verbs = {"enqueue_job", "retry_job", "cancel_job", "discard_job", "view_payload_job"}
    assert codenames(Job) == verbs | {"add_job", "change_job", "delete_job", "view_job"}
    assert codenames(Queue) == {"view_queue", "change_queue", "pause_queue"}
    assert codenames(Worker) == {"view_worker", "stop_worker"}
    assert codenames(Statistic) == set()


def test_rows_of_the_release_before_are_taken(alias):
    """It fills the columns that it knows."""
    from django.db import connections

    new = {
        Job: ("dismissed_at", "pinned_at"),
        Worker: ("exclude_queues", "running_jobs", "memory", "stop_requested_at"),
    }
    now = timezone.now()
    worker = Worker(id=ME, name="w", hostname="h", pid=1, backend="default", processes=1, version="0")
    worker.started_at = worker.heartbeat_at = worker.lease_expires_at = now
    job = Job(id=uuid7(), task_name="t", queue_name="q", backend="b", arguments="", enqueued_at=now)
    connection = connections[alias]
    for row_ in (worker, job):
        fields = [field for field in row_._meta.concrete_fields if field.name not in new[type(row_)]]
        columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
        marks = ", ".join(["%s"] * len(fields))
        values = [field.get_db_prep_save(getattr(row_, field.attname), connection) for field in fields]
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {row_._meta.db_table} ({columns}) VALUES ({marks})", values)
    assert Worker.objects.using(alias).get().running_jobs == 0
    assert Job.objects.using(alias).get().pinned_at is None


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_actions_are_for_projects_that_commit_themselves(alias, heard):
    """Django has no hook for after the commit there."""
    job = add(alias)
    transaction.set_autocommit(False, using=alias)
    try:
        done = actions.cancel(job.id, using=alias)
        transaction.commit(using=alias)
    finally:
        transaction.set_autocommit(True, using=alias)
    assert done.done == {job.id}
    assert Job.objects.using(alias).get(id=job.id).status == JobStatus.CANCELLED
    assert [action for _, action, *_ in heard] == ["cancel"]
