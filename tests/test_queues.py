"""Queues that are paused or limited, and workers that are asked to stop, on every database."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import actions
from django_tasks_q.actions import Reason
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job, Queue, Worker
from django_tasks_q.signals import action_performed
from django_tasks_q.storage import Claim, ControlState, storage_for
from django_tasks_q.worker.control import EVERY, EVERY_WITH_NOTIFICATIONS, WorkerControl

from .tasksapp import tasks
from .test_actions import add
from .test_worker import finished, job, options

ME, YOU = uuid.uuid4(), uuid.uuid4()
HOUR = timedelta(hours=1)


@pytest.fixture
def alias(storage_alias):
    return storage_alias


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def control(storage, worker_id=ME):
    return storage.queues.control("default", worker_id)


def register(storage, worker_id=ME):
    worker = Worker(id=worker_id, name="w", hostname="h", pid=1, backend="default", processes=1, version="1")
    storage.workers.register(worker, 60.0)


def terms(worker_id=ME, **values):
    return Claim(worker_id=worker_id, backend="default", task_names=[tasks.add.name], **values)


# Pauses


def test_a_pause_says_who_and_why_and_is_over_when_somebody_says_so(storage, alias):
    assert actions.pause("mail", by="ada", reason="the server is down", using=alias)
    row = Queue.objects.using(alias).get()
    assert (row.name, row.backend, row.paused_by, row.pause_reason) == (
        "mail",
        "default",
        "ada",
        "the server is down",
    )
    assert row.is_paused
    assert control(storage).paused == {"mail"}
    first = row.paused_at
    assert not actions.pause("mail", by="bob", using=alias)
    row.refresh_from_db()
    assert (row.paused_by, row.pause_reason, row.paused_at) == ("bob", "", first)
    assert actions.resume("mail", using=alias)
    assert not actions.resume("mail", using=alias)
    assert control(storage) == ControlState()
    # Nothing is left that workers would have to read.
    assert Queue.objects.using(alias).count() == 0


def test_a_pause_may_end_by_itself(storage, alias):
    actions.pause("mail", until=HOUR, using=alias)
    found = control(storage)
    assert found.paused == {"mail"}
    assert 3500 < found.changes_in <= 3600
    Queue.objects.using(alias).update(paused_until=timezone.now() - timedelta(seconds=1))
    assert control(storage) == ControlState()
    assert not Queue.objects.using(alias).get().is_paused
    assert not actions.resume("mail", using=alias)
    actions.limit("mail", 3, using=alias)
    actions.pause("mail", until=HOUR, using=alias)
    Queue.objects.using(alias).update(paused_until=timezone.now() - timedelta(seconds=1))
    assert control(storage).limited == {"mail": 3}
    assert storage.queues.vacancies("default", "mail") == 3


def test_the_limited_queues_with_room_and_jobs_are_found_at_once(
    storage, alias, django_assert_max_num_queries
):
    rows = [Queue(backend="default", name=f"q{number:03}", max_running=2) for number in range(200)]
    rows += [Queue(backend="other", name="q007", max_running=2), Queue(backend="default", name="free")]
    Queue.objects.using(alias).bulk_create(rows)
    actions.pause("q009", using=alias)
    assert storage.queues.with_room("default") == []
    for queue, priority in (("q003", 0), ("q150", 9), ("q009", 50), ("q007", 0), ("free", 5), ("q004", 0)):
        tasks.add.using(queue_name=queue, priority=priority).enqueue(1)
    add(alias, status="RUNNING", queue_name="q007", worker_id=ME)
    for _ in range(2):
        add(alias, status="RUNNING", queue_name="q004", worker_id=ME)
    with django_assert_max_num_queries(2, connection=connections[alias]):
        assert storage.queues.with_room("default") == ["q150", "q003", "q007"]


def test_a_worker_is_quick_beside_many_limited_queues(project):
    Queue.objects.bulk_create(
        [Queue(backend="default", name=f"q{number:03}", max_running=2) for number in range(200)]
    )
    tasks.noop.using(queue_name="q123").enqueue_many([()] * 60)
    with project.worker("--processes", "1"):
        project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == 60)


def test_orders_are_one_statement_whatever_there_is(storage, alias, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections[alias]):
        assert control(storage) == ControlState()
    register(storage)
    actions.pause("a", using=alias)
    actions.limit("b", 7, using=alias)
    actions.pause("c", backend="other", using=alias)
    actions.stop_worker(ME, using=alias)
    with django_assert_num_queries(1, connection=connections[alias]):
        found = control(storage)
    assert found == (True, {"a"}, {"b": 7}, float("inf"), float("inf"))
    assert control(storage, YOU).stop is False


def test_a_paused_queue_keeps_its_limit(storage, alias):
    actions.limit("mail", 2, using=alias)
    actions.pause("mail", using=alias)
    assert (control(storage).paused, control(storage).limited) == ({"mail"}, {})
    assert storage.queues.vacancies("default", "mail") == 0
    actions.resume("mail", using=alias)
    assert control(storage).limited == {"mail": 2}
    assert actions.limit("mail", None, using=alias)
    assert not actions.limit("mail", None, using=alias)
    assert Queue.objects.using(alias).count() == 0


def test_what_no_queue_could_have_is_refused(alias):
    for call, error, words in (
        (lambda: actions.pause("", using=alias), ValueError, "queue must be 1 to 128"),
        (lambda: actions.pause("a" * 129, using=alias), ValueError, "queue must be 1 to 128"),
        (lambda: actions.pause("a", until=-HOUR, using=alias), ValueError, "a time in the future"),
        (lambda: actions.pause("a", by="x\n", using=alias), ValueError, "by must be"),
        (lambda: actions.pause("a", reason="x" * 256, using=alias), ValueError, "reason must be"),
        (lambda: actions.limit("a", 0, using=alias), ValueError, "max_running must be between 1"),
        (lambda: actions.limit("a", "2", using=alias), TypeError, "max_running must be a whole number"),
    ):
        with pytest.raises(error, match=words):
            call()
    assert Queue.objects.using(alias).count() == 0


def test_actions_on_queues_are_told_once_committed(alias):
    heard = []

    def receiver(sender, action, ids, user, reason, **kwargs):
        heard.append((sender.__name__, action, ids, user, reason))

    action_performed.connect(receiver)
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
            actions.pause("a", using=alias)
            raise ZeroDivisionError
        assert Queue.objects.using(alias).count() == 0
        actions.pause("a", reason="r", user="ada", using=alias)
        actions.resume("a", user="ada", using=alias)
        actions.resume("a", using=alias)
        actions.limit("a", 1, using=alias)
    finally:
        action_performed.disconnect(receiver)
    assert heard == [
        ("Queue", "pause", ["a"], "ada", "r"),
        ("Queue", "resume", ["a"], "ada", ""),
        ("Queue", "limit", ["a"], None, ""),
    ]


# Limits


def test_no_more_are_claimed_than_may_run(storage, alias):
    actions.limit("mail", 2, using=alias)
    for _ in range(5):
        add(alias, queue_name="mail")
    other = add(alias, queue_name="other")
    first = storage.jobs.claim_limited(terms(), "mail", 10)
    assert len(first) == 2
    assert storage.jobs.claim_limited(terms(YOU), "mail", 10) == []
    # A worker that is silent has its jobs until they are known to be lost.
    assert Worker.objects.using(alias).count() == 0
    storage.jobs.finish([Outcome.successful(first[0].id, first[0].fence, "1", 0.1)])
    assert len(storage.jobs.claim_limited(terms(YOU), "mail", 10)) == 1
    assert storage.jobs.claim_limited(terms(), "mail", 10) == []
    assert Job.objects.using(alias).get(id=other.id).status == "READY"


def test_a_queue_of_which_nothing_is_known_is_not_claimed_from_by_its_limit(storage, alias):
    add(alias, queue_name="mail")
    assert storage.jobs.claim_limited(terms(), "mail", 10) == []
    actions.limit("mail", 2, using=alias)
    actions.pause("mail", using=alias)
    assert storage.jobs.claim_limited(terms(), "mail", 10) == []


def test_a_full_or_empty_queue_is_looked_at_without_a_write(storage, alias):
    actions.limit("mail", 1, using=alias)
    assert storage.jobs.claim_limited(terms(), "mail", 10) == []
    add(alias, queue_name="mail"), add(alias, queue_name="mail")
    assert len(storage.jobs.claim_limited(terms(), "mail", 10)) == 1
    turn = Queue.objects.using(alias).get().turn
    assert storage.jobs.claim_limited(terms(), "mail", 10) == []
    assert Queue.objects.using(alias).get().turn == turn == 1


@pytest.mark.parametrize("level", ["READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE"])
def test_claimers_at_once_never_exceed_a_limit(storage, alias, level):
    if alias != "postgres":
        if level != "READ_COMMITTED":
            pytest.skip("one level is enough here")
    else:
        from psycopg import IsolationLevel

        config = connections[alias].settings_dict["OPTIONS"]
        config["isolation_level"] = IsolationLevel[level]
        connections[alias].close()
    actions.limit("mail", 3, using=alias)
    for _ in range(60):
        add(alias, queue_name="mail")
    most, errors, barrier = [], [], threading.Barrier(4)

    def work():
        mine, me = [], uuid.uuid4()
        try:
            barrier.wait(10)
            for _ in range(200):
                mine += storage.jobs.claim_limited(terms(me), "mail", 2)
                most.append(Job.objects.using(alias).filter(status="RUNNING").count())
                if mine:
                    done = mine.pop()
                    storage.jobs.finish([Outcome.successful(done.id, done.fence, "1", 0.1)])
                elif not Job.objects.using(alias).filter(status="READY").exists():
                    return
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        connections[alias].settings_dict["OPTIONS"].pop("isolation_level", None)
        connections[alias].close()
    assert errors == []
    assert max(most) <= 3
    assert Job.objects.using(alias).filter(status="SUCCESSFUL").count() == 60


# What a worker knows


def test_a_worker_looks_before_it_claims_and_then_now_and_then(storage, alias, monkeypatch):
    state = WorkerControl(storage, "default")
    assert state.is_due(False)
    actions.pause("a", using=alias)
    assert state.query(ME, is_notified=True)
    assert state.current.paused == {"a"}
    assert EVERY < state.seconds_to_next <= EVERY_WITH_NOTIFICATIONS
    assert not state.query(ME, is_notified=False)
    assert 1 < state.seconds_to_next <= EVERY
    assert not state.is_due(True)  # a moment ago is not long enough for anybody's hints
    assert state.seconds_to_next < 0.1
    actions.pause("a", until=timedelta(seconds=0.5), using=alias)
    state.query(ME, is_notified=True)
    assert state.seconds_to_next < 1
    state.forget(ME)
    assert state.is_due(False)


def test_a_stop_that_was_asked_for_outlives_a_lost_lease(storage, alias):
    state = WorkerControl(storage, "default")
    register(storage)
    assert not state.query(ME, is_notified=False)
    actions.stop_worker(ME, using=alias)
    state.forget(ME)  # before the worker knows of it
    assert state.query(YOU, is_notified=False)
    assert state.current.stop
    state.forget(YOU)
    state.query(YOU, is_notified=False)
    assert not state.current.stop


def test_a_stop_is_asked_for_once(storage, alias):
    register(storage)
    assert actions.stop_worker(ME, using=alias).done == {ME}
    assert control(storage).stop
    assert actions.stop_worker(ME, using=alias).skipped == {Reason.UNCHANGED: {ME}}
    storage.workers.unregister(ME)
    assert actions.stop_worker(ME, using=alias).skipped == {Reason.ENDED: {ME}}
    assert actions.stop_worker(YOU, using=alias).skipped == {Reason.GONE: {YOU}}


# By way of workers


def test_a_paused_queue_waits_until_it_is_resumed(project, tmp_path):
    actions.pause("slow", using=project.alias)
    held = [tasks.noop.using(queue_name="slow").enqueue() for _ in range(3)]
    with project.worker("--processes", "1"):
        finished(project, *[tasks.noop.enqueue() for _ in range(3)])
        finished(project, *[tasks.noop.enqueue() for _ in range(3)])
        assert {job(each).status for each in held} == {"READY"}
        actions.resume("slow", using=project.alias)
        finished(project, *held, timeout=8)
        # While it runs as well: as soon as its hint is heard, else within two seconds.
        running, go = tmp_path / "running", tmp_path / "go"
        one = tasks.wait_for_file.using(queue_name="slow").enqueue(str(go), str(running))
        project.wait_for(running.exists)
        actions.pause("slow", until=timedelta(seconds=6), using=project.alias)
        time.sleep(1)  # nothing tells that a hint was heard
        last = tasks.noop.using(queue_name="slow").enqueue()
        go.touch()
        finished(project, one)
        assert job(last).status == "READY" or project.alias != "postgres"
        finished(project, last, timeout=15)


def test_a_batch_leaves_what_is_paused(project):
    actions.pause("slow", using=project.alias)
    held, free = tasks.noop.using(queue_name="slow").enqueue(), tasks.noop.enqueue()
    project.run("runworker", "--batch", "--processes", "1")
    assert (job(held).status, job(free).status) == ("READY", "SUCCESSFUL")


def test_workers_together_keep_to_a_limit(project):
    options(project, lease=5)
    actions.limit("slow", 2, using=project.alias)
    jobs = [tasks.sleep.using(queue_name="slow").enqueue(0.2) for _ in range(8)]
    free = [tasks.sleep.enqueue(0.05) for _ in range(8)]
    most = 0
    with project.worker("--processes", "3"), project.worker("--processes", "3"):

        def are_over():
            nonlocal most
            running = Job.objects.filter(queue_name="slow", status=JobStatus.RUNNING).count()
            most = max(most, running)
            return not Job.objects.exclude(status=JobStatus.SUCCESSFUL).exists()

        project.wait_for(are_over, 30)
    assert 1 <= most <= 2
    ended = [(job(each).last_attempted_at, job(each).finished_at) for each in jobs]
    for began, _ in ended:
        assert sum(start <= began < end for start, end in ended) <= 2
    assert all(job(each).status == "SUCCESSFUL" for each in free)


def test_a_batch_runs_what_is_limited(project):
    actions.limit("slow", 1, using=project.alias)
    jobs = [tasks.noop.using(queue_name="slow").enqueue() for _ in range(5)]
    project.run("runworker", "--batch", "--processes", "2")
    assert {job(each).status for each in jobs} == {"SUCCESSFUL"}


def test_a_worker_stops_when_it_is_asked_to(project, tmp_path):
    running, go = tmp_path / "running", tmp_path / "go"
    one = tasks.wait_for_file.enqueue(str(go), str(running))
    with project.worker("--processes", "1") as worker:
        project.wait_for(running.exists)
        (row,) = Worker.objects.all()
        assert actions.stop_worker(row.id, using=project.alias).done == {row.id}
        project.wait_for(lambda: "This worker was asked to stop" in worker.output, 5)
        rest = tasks.noop.enqueue()
        assert worker.process.poll() is None
        go.touch()
        assert worker.process.wait(15) == 0
    assert (job(one).status, job(rest).status) == ("SUCCESSFUL", "READY")
    row.refresh_from_db()
    assert row.stopped_at is not None


def test_a_worker_tells_what_it_is_and_does(project, tmp_path):
    options(project, lease=2)
    running, go = tmp_path / "running", tmp_path / "go"
    one = tasks.wait_for_file.using(queue_name="slow").enqueue(str(go), str(running))
    with project.worker("--processes", "1", "--queue", "slow", "--queue", "other"):
        project.wait_for(lambda: Worker.objects.filter(running_jobs=1, memory__gt=1_000_000).exists())
        row = Worker.objects.get()
        assert (row.backend, row.queues, row.exclude_queues) == ("default", '["slow","other"]', "[]")
        assert (row.processes, row.threads, row.async_concurrency) == (1, 8, 100)
        assert row.version
        go.touch()
        finished(project, one)
        project.wait_for(lambda: Worker.objects.filter(running_jobs=0).exists())
