"""The conformance suite: what every storage promises, run unchanged on every database."""

import threading
import time
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.exceptions import AttemptCrashed, WorkerLost
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import FINAL, TRANSITIONS, JobStatus
from django_tasks_q.maintenance import prune as prune_module
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, session, storage_for
from django_tasks_q.storage.claimable import sort_key
from django_tasks_q.storage.session import repeated
from django_tasks_q.storage.timestamps import moment

ME, YOU = uuid.uuid4(), uuid.uuid4()
NAMES = ("a", "b")


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def add(storage, **values):
    values = {
        "task_name": "a",
        "queue_name": "default",
        "backend": "default",
        "arguments": "[[],{}]",
        "enqueued_at": timezone.now(),
        **values,
    }
    job = Job(id=uuid7(), **values)
    Job.objects.using(storage.alias).bulk_create([job])
    return job


def claim(storage, limit=10, *, worker_id=ME, **values):
    values = {"backend": "default", "task_names": NAMES, **values}
    return storage.jobs.claim(Claim(worker_id=worker_id, **values), limit)


def take(storage, **values):
    """Add a job and claim it."""
    add(storage, **values)
    (job,) = claim(storage)
    return job


def row(storage, job):
    return Job.objects.using(storage.alias).get(id=job.id)


def attempts(storage, job):
    return list(Attempt.objects.using(storage.alias).filter(job_id=job.id))


def register(storage, worker_id, lease=60.0):
    worker = Worker(id=worker_id, name="w", hostname="h", pid=1, backend="default", processes=1, version="1")
    storage.workers.register(worker, lease)
    return worker


FAILURE = Failure("CODE", "builtins.ValueError", "message", "traceback")


def success(job, result="1", duration=0.5):
    return Outcome.successful(job.id, job.fence, result, duration)


def failure(job, retry_after=None):
    return Outcome.failed(job.id, job.fence, FAILURE, retry_after, 0.5)


def crash(job, crashes=1, error=None):
    return Outcome.crashed(
        job.id, job.fence, error or AttemptCrashed("gone"), again=True, poison=crashes >= 3
    )


# Claiming


def test_a_claim_makes_jobs_the_workers_under_a_new_fence(storage):
    stored = add(
        storage, arguments='[[1],{"k":"ä"}]', options='{"backoff":null}', timeout=5.0, max_attempts=3
    )
    (job,) = claim(storage)
    assert (job.id, job.fence, job.attempts, job.crashes) == (stored.id, 1, 1, 0)
    assert (job.task_name, job.queue_name, job.arguments) == ("a", "default", '[[1],{"k":"ä"}]')
    assert (job.options, job.timeout, job.max_attempts) == ('{"backoff":null}', 5.0, 3)
    after = row(storage, job)
    assert (after.status, after.worker_id, after.fence, after.attempts) == (JobStatus.RUNNING, ME, 1, 1)
    assert after.started_at == after.last_attempted_at == moment(job.last_attempted_at)
    assert {name: getattr(after, name) for name in job._fields} == job.columns
    assert abs((after.started_at - timezone.now()).total_seconds()) < 5


def test_a_claim_is_never_given_twice(storage):
    add(storage)
    assert len(claim(storage)) == 1
    assert claim(storage) == []
    assert claim(storage, worker_id=YOU) == []


def test_the_most_urgent_come_first_then_the_oldest(storage):
    order = [0, 5, -3, 5, 100, 0, -100]
    added = [add(storage, priority=priority) for priority in order]
    expected = [job.id for job in sorted(added, key=sort_key)]
    assert [job.id for job in claim(storage, 3)] == expected[:3]
    assert [job.id for job in claim(storage, 10)] == expected[3:]


def test_only_ready_jobs_of_known_names_and_own_backend_are_claimed(storage):
    for status in JobStatus:
        if status is not JobStatus.READY:
            add(storage, status=status)
    add(storage, task_name="unknown")
    add(storage, backend="other")
    mine = add(storage, task_name="b")
    assert [job.id for job in claim(storage)] == [mine.id]


def test_queues_can_be_chosen_and_left_out(storage):
    jobs = {queue: add(storage, queue_name=queue) for queue in ("x", "y", "z")}
    assert [job.id for job in claim(storage, queues=["x"])] == [jobs["x"].id]
    assert [job.id for job in claim(storage, exclude_queues=["y"])] == [jobs["z"].id]
    assert [job.id for job in claim(storage, queues=["x", "y"], exclude_queues=["x"])] == [jobs["y"].id]


def test_a_backend_that_shares_the_table_keeps_to_its_own(storage):
    add(storage, backend="other", status=JobStatus.SCHEDULED, run_after=timezone.now() - timedelta(1))
    assert storage.maintenance.promote("default") == 0
    assert storage.maintenance.next_due("default").start is None
    assert storage.maintenance.promote("other") == 1


# Finishing


def test_a_success_is_written_with_its_result(storage):
    job = take(storage)
    assert set(storage.jobs.finish([success(job, '{"ä":[null]}')])) == {job.id}
    after = row(storage, job)
    assert (after.status, after.result, after.duration, after.error_code) == (
        "SUCCESSFUL",
        '{"ä":[null]}',
        0.5,
        "",
    )
    assert after.finished_at >= after.started_at
    assert after.worker_id == ME
    assert attempts(storage, job) == []


def test_a_failure_is_written_with_its_attempt(storage):
    job = take(storage)
    assert set(storage.jobs.finish([failure(job)])) == {job.id}
    after = row(storage, job)
    assert (after.status, after.result, after.error_code) == ("FAILED", None, "CODE")
    (attempt,) = attempts(storage, job)
    assert (attempt.number, attempt.fence, attempt.worker_id, attempt.outcome) == (1, 1, ME, "failed")
    assert (attempt.exception_class, attempt.message) == ("builtins.ValueError", "message")
    assert (attempt.traceback, attempt.error_code, attempt.duration) == ("traceback", "CODE", 0.5)
    assert attempt.started_at == after.last_attempted_at


def test_a_retry_waits_for_its_time(storage):
    job = take(storage)
    storage.jobs.finish([failure(job, retry_after=100)])
    after = row(storage, job)
    assert (after.status, after.attempts, after.finished_at) == ("SCHEDULED", 1, None)
    assert after.is_retrying
    assert 95 < (after.run_after - timezone.now()).total_seconds() <= 100.5
    assert claim(storage) == []


def test_a_retry_without_delay_is_ready_at_once(storage):
    job = take(storage)
    storage.jobs.finish([failure(job, retry_after=0)])
    (again,) = claim(storage)
    assert (again.id, again.fence, again.attempts) == (job.id, 2, 2)
    storage.jobs.finish([success(again)])
    first, second = attempts(storage, job)
    assert [first.outcome, second.outcome] == ["failed", "successful"]
    assert [first.number, second.number] == [1, 2]
    assert row(storage, job).started_at == first.started_at


def test_a_release_gives_the_attempt_back(storage):
    job = take(storage)
    assert set(storage.jobs.finish([Outcome.released(job.id, job.fence)])) == {job.id}
    after = row(storage, job)
    assert (after.status, after.attempts, after.crashes, after.fence) == ("READY", 0, 0, 1)
    assert attempts(storage, job) == []
    (again,) = claim(storage)
    assert (again.attempts, again.fence) == (1, 2)


def test_an_interrupted_run_is_recorded_but_not_counted(storage):
    job = take(storage)
    storage.jobs.finish([Outcome.released(job.id, job.fence, duration=1.0)])
    (attempt,) = attempts(storage, job)
    assert (attempt.outcome, attempt.number) == ("released", 1)
    assert row(storage, job).attempts == 0


def test_a_snooze_waits_and_is_not_counted(storage):
    job = take(storage)
    storage.jobs.finish([Outcome.snoozed(job.id, job.fence, 100, 0.1)])
    after = row(storage, job)
    assert (after.status, after.attempts, after.error_code) == ("SCHEDULED", 0, "")
    assert 95 < (after.run_after - timezone.now()).total_seconds() <= 100.5
    assert [one.outcome for one in attempts(storage, job)] == ["snoozed"]


def test_crashes_are_counted_apart_from_attempts(storage):
    job = take(storage)
    storage.jobs.finish([crash(job)])
    after = row(storage, job)
    assert (after.status, after.attempts, after.crashes) == ("READY", 0, 1)
    (again,) = claim(storage)
    assert (again.attempts, again.crashes) == (1, 1)
    storage.jobs.finish([crash(again, 3)])
    after = row(storage, job)
    assert (after.status, after.crashes, after.error_code) == ("FAILED", 2, "POISON")
    assert [(one.outcome, one.number) for one in attempts(storage, job)] == [("crashed", 1), ("crashed", 2)]


def test_a_batch_is_written_each_by_its_own_ending(storage):
    for _ in range(5):
        add(storage)
    one, two, three, four, five = claim(storage)
    outcomes = [
        success(one),
        failure(two),
        failure(three, 5),
        Outcome.released(four.id, four.fence),
        crash(five),
    ]
    assert set(storage.jobs.finish(outcomes)) == {job.id for job in (one, two, three, four, five)}
    statuses = [row(storage, job).status for job in (one, two, three, four, five)]
    assert statuses == ["SUCCESSFUL", "FAILED", "SCHEDULED", "READY", "READY"]


def test_finishing_nothing_is_nothing(storage):
    assert set(storage.jobs.finish([])) == set()


ENDINGS = [
    success,
    failure,
    lambda job: failure(job, 5),
    crash,
    lambda job: Outcome.released(job.id, job.fence),
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_old_fence_writes_nothing(storage, ending):
    old = take(storage)
    storage.jobs.finish([Outcome.released(old.id, old.fence)])
    (new,) = claim(storage, worker_id=YOU)
    before = row(storage, new)
    assert set(storage.jobs.finish([ending(old)])) == set()
    after = row(storage, new)
    assert (after.status, after.fence, after.attempts, after.crashes) == ("RUNNING", 2, 1, 0)
    assert after.worker_id == before.worker_id == YOU
    assert attempts(storage, new) == []
    assert set(storage.jobs.finish([success(new)])) == {new.id}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_only_a_running_job_can_be_finished(storage, status, ending):
    job = take(storage)
    Job.objects.using(storage.alias).filter(id=job.id).update(status=status)
    assert set(storage.jobs.finish([ending(job)])) == set()
    assert row(storage, job).status == status
    assert attempts(storage, job) == []


def test_the_second_of_two_endings_is_refused(storage):
    job = take(storage)
    assert set(storage.jobs.finish([success(job)])) == {job.id}
    assert set(storage.jobs.finish([failure(job)])) == set()
    assert row(storage, job).status == "SUCCESSFUL"


def test_text_of_every_kind_is_stored(storage):
    job = take(storage)
    text = "{}[]\"'\\,;%s%%\n\t NULL ä€😀"
    outcome = Outcome.failed(job.id, job.fence, Failure("C", "a.B", text, text), None, None)
    storage.jobs.finish([outcome])
    (attempt,) = attempts(storage, job)
    assert (attempt.message, attempt.traceback) == (text, text)


# Waiting for the time


def test_due_jobs_are_promoted_and_others_stay(storage):
    now = timezone.now()
    due = add(storage, status=JobStatus.SCHEDULED, run_after=now - timedelta(seconds=1))
    later = add(storage, status=JobStatus.SCHEDULED, run_after=now + timedelta(hours=1))
    assert storage.maintenance.next_due("default").start < 0
    assert storage.maintenance.promote("default") == 1
    assert (row(storage, due).status, row(storage, later).status) == ("READY", "SCHEDULED")
    assert 3500 < storage.maintenance.next_due("default").start <= 3600
    assert storage.maintenance.promote("default") == 0


def test_promotion_goes_in_bounded_steps_the_longest_due_first(storage):
    now = timezone.now()
    jobs = [
        add(storage, status=JobStatus.SCHEDULED, run_after=now - timedelta(seconds=age)) for age in (1, 3, 2)
    ]
    assert storage.maintenance.promote("default", limit=2) == 2
    assert [row(storage, job).status for job in jobs] == ["SCHEDULED", "READY", "READY"]


def test_nothing_scheduled_is_never_due(storage):
    add(storage)
    assert storage.maintenance.next_due("default").start is None


def test_work_is_what_this_worker_could_take_now(storage):
    mine = Claim(worker_id=ME, backend="default", task_names=NAMES, queues=["x"])
    add(storage)
    add(storage, task_name="unknown", queue_name="x")
    add(storage, queue_name="x", status=JobStatus.SCHEDULED, run_after=timezone.now() + timedelta(1))
    assert not storage.jobs.has_work(mine)
    add(storage, queue_name="x")
    assert storage.jobs.has_work(mine)


def test_a_job_that_is_due_is_work_before_it_is_promoted(storage):
    mine = Claim(worker_id=ME, backend="default", task_names=NAMES, queues=["x"])
    due = {"status": JobStatus.SCHEDULED, "run_after": timezone.now() - timedelta(1)}
    add(storage, queue_name="y", **due)
    assert not storage.jobs.has_work(mine)
    add(storage, queue_name="x", **due)
    assert storage.jobs.has_work(mine)


# Leases and rescue


def test_a_lease_is_renewed_while_it_lasts(storage):
    worker = register(storage, ME)
    assert storage.workers.heartbeat(ME, 60.0)
    stored = Worker.objects.using(storage.alias).get(id=worker.id)
    assert stored.lease_expires_at > stored.heartbeat_at


def test_a_lease_that_is_over_is_never_renewed(storage):
    register(storage, ME, lease=-1.0)
    assert not storage.workers.heartbeat(ME, 60.0)
    assert not storage.workers.heartbeat(YOU, 60.0)


def test_a_stopped_worker_has_no_lease(storage):
    register(storage, ME)
    storage.workers.unregister(ME)
    assert not storage.workers.heartbeat(ME, 60.0)


def test_jobs_of_a_live_worker_are_not_lost(storage):
    register(storage, ME)
    take(storage)
    assert storage.maintenance.lost("default") == []


@pytest.mark.parametrize("end", ["expired", "stopped", "unknown"])
def test_jobs_without_a_live_owner_are_lost(storage, end):
    if end == "expired":
        register(storage, ME, lease=-1.0)
    elif end == "stopped":
        register(storage, ME)
        storage.workers.unregister(ME)
    job = take(storage)
    (lost,) = storage.maintenance.lost("default")
    assert (lost.id, lost.fence, lost.crashes, lost.task_name) == (job.id, 1, 0, "a")
    assert storage.maintenance.lost("other") == []


def test_a_rescued_job_is_safe_from_its_old_worker(storage):
    job = take(storage)
    rescue = crash(job, error=WorkerLost("silent"))
    assert set(storage.jobs.finish([rescue])) == {job.id}
    assert set(storage.jobs.finish([success(job)])) == set()
    (new,) = claim(storage, worker_id=YOU)
    assert set(storage.jobs.finish([success(job)])) == set()
    assert set(storage.jobs.finish([success(new)])) == {job.id}
    assert [one.outcome for one in attempts(storage, job)] == ["lost", "successful"]


def test_workers_long_gone_are_forgotten(storage):
    register(storage, ME, lease=-100.0)
    register(storage, YOU)
    assert storage.workers.forget(older_than=50.0) == 1
    assert Worker.objects.using(storage.alias).get().id == YOU


def test_workers_long_gone_are_forgotten_a_slice_at_a_time(storage):
    for _ in range(5):
        register(storage, uuid.uuid4(), lease=-100.0)
    assert storage.workers.forget(older_than=50.0, limit=3) == 3
    assert storage.workers.forget(older_than=50.0, limit=3) == 2
    assert storage.workers.forget(older_than=50.0, limit=3) == 0


# Repetition


def losing(storage, seconds, tries):
    """A verb that loses to others each time, after a wait of so many seconds."""
    code = 1205 if storage.session.connection.vendor == "mysql" else None

    class Losing(type(storage.session)):
        def may_repeat(self, error):
            return True if code is None else super().may_repeat(error)

    class Verbs(session.Part):
        @repeated
        def verb(self):
            tries.append(time.monotonic())
            time.sleep(seconds)
            raise OperationalError(code, "somebody else's fault")

    return Verbs(Losing(storage.alias))


def test_a_verb_that_loses_at_once_is_repeated_after_pauses(storage):
    tries = []
    with pytest.raises(OperationalError, match="somebody else's fault"):
        losing(storage, 0.0, tries).verb()
    assert len(tries) == session.MAX_REPEATS + 1
    assert tries[-1] - tries[0] > 0.1  # the longest pauses alone come to two seconds on average


def test_a_verb_that_waits_long_is_not_repeated_for_minutes(storage, monkeypatch):
    monkeypatch.setattr(session, "REPEAT_FOR", 0.1)
    tries = []
    with pytest.raises(OperationalError, match="somebody else's fault"):
        losing(storage, 0.2, tries).verb()
    assert len(tries) == 1


def test_a_lock_that_others_keep_is_waited_for_once(storage, monkeypatch):
    if storage.alias != "mariadb":
        pytest.skip("elsewhere nobody gives up a wait for a lock")
    monkeypatch.setattr(session, "REPEAT_FOR", 0.5)
    job = add(storage)
    alias, is_locked, is_done = storage.alias, threading.Event(), threading.Event()

    def keep():
        with transaction.atomic(using=alias):
            Job.objects.using(alias).select_for_update().get(id=job.id)
            is_locked.set()
            is_done.wait(60)
        connections[alias].close()

    thread = threading.Thread(target=keep)
    thread.start()
    assert is_locked.wait(20)
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        began = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            storage.jobs.change([job.id], priority=5)
        assert caught.value.args[0] == 1205
        assert time.monotonic() - began < 10
    finally:
        is_done.set()
        thread.join()
        connections[alias].close()


# Pruning


def test_only_old_jobs_in_a_final_state_are_pruned(storage):
    old, new = timezone.now() - timedelta(days=2), timezone.now()
    for status in JobStatus:
        add(storage, status=status, finished_at=old if status in FINAL else None)
    add(storage, status=JobStatus.SUCCESSFUL, finished_at=new)
    assert storage.maintenance.prune("default", set(JobStatus), older_than=86400.0) == len(FINAL)
    assert Job.objects.using(storage.alias).filter(status__in=FINAL).count() == 1
    assert Job.objects.using(storage.alias).count() == len(JobStatus) - len(FINAL) + 1


def test_pruning_takes_attempts_along_and_keeps_to_its_limit(storage):
    for _ in range(3):
        storage.jobs.finish([failure(take(storage))])
    Job.objects.using(storage.alias).update(finished_at=timezone.now() - timedelta(days=2))
    assert storage.maintenance.prune("default", {JobStatus.FAILED}, 3600.0, limit=2) == 2
    assert Job.objects.using(storage.alias).count() == Attempt.objects.using(storage.alias).count() == 1
    assert storage.maintenance.prune("default", {JobStatus.SUCCESSFUL}, 3600.0) == 0


# Concurrency


def in_threads(count, function):
    """Run ``function(number)`` in threads that start together; answers what each returned."""
    results, errors = [None] * count, []
    barrier = threading.Barrier(count)

    def body(number):
        try:
            barrier.wait(10)
            results[number] = function(number)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    return results


def test_workers_at_once_claim_every_job_once(storage):
    Job.objects.using(storage.alias).bulk_create([_bare() for _ in range(200)])

    def worker(number):
        got = []
        while jobs := claim(storage, 7, worker_id=uuid.uuid4()):
            got += [job.id for job in jobs]
            storage.jobs.finish([success(job) for job in jobs])
        return got

    claimed = [job_id for got in in_threads(4, worker) for job_id in got]
    assert len(claimed) == len(set(claimed)) == 200
    assert Job.objects.using(storage.alias).filter(status="SUCCESSFUL", fence=1).count() == 200


def test_of_rivals_for_one_ending_exactly_one_wins(storage):
    for _ in range(10):
        job = take(storage)
        wins = in_threads(3, lambda number, job=job: storage.jobs.finish([success(job, str(number))]))
        assert sum(len(won) for won in wins) == 1
        assert set(wins[int(row(storage, job).result)]) == {job.id}


def test_batches_that_overlap_do_not_deadlock(storage):
    for _ in range(5):
        Job.objects.using(storage.alias).bulk_create([_bare() for _ in range(20)])
        jobs = claim(storage, 20)
        control = [jobs, list(reversed(jobs)), jobs[10:] + jobs[:10]]
        wins = in_threads(
            3, lambda number, control=control: storage.jobs.finish([success(job) for job in control[number]])
        )
        assert sum(len(won) for won in wins) == 20


def _bare():
    return Job(
        id=uuid7(),
        task_name="a",
        queue_name="default",
        backend="default",
        arguments="[[],{}]",
        enqueued_at=timezone.now(),
    )


# The table of states


def test_every_state_has_its_moves_and_final_ones_only_a_retry():
    assert set(TRANSITIONS) == set(JobStatus)
    for status in FINAL:
        assert set(TRANSITIONS[status].values()) <= {"retry"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_of_an_attempt_is_an_allowed_move(ending):
    job = SimpleNamespace(id=uuid7(), fence=1)
    assert ending(job).status in TRANSITIONS[JobStatus.RUNNING]


def test_options_name_what_is_wrong(storage_alias, settings):
    from django_tasks_q.backends import DatabaseBackend

    for options, words in [
        ({"LEESE": 1}, "'LEESE' is not an option. Did you mean 'LEASE'?"),
        ({"LEASE": "1"}, "LEASE must be a number of seconds"),
        ({"LEASE": 1}, "LEASE must be between 2 and"),
        ({"MAX_ATTEMPTS": 0}, "MAX_ATTEMPTS must be between 1"),
        ({"NOTIFY": "yes"}, "NOTIFY must be True or False"),
    ]:
        with pytest.raises(ImproperlyConfigured, match=words):
            _ = DatabaseBackend("default", {"OPTIONS": options}).settings


# Times of their own


def test_jobs_are_kept_as_long_as_they_say(storage):
    old = timezone.now() - timedelta(hours=2)
    for retention, status in (
        (None, "SUCCESSFUL"),
        (3600.0, "FAILED"),
        (7200.5, "CANCELLED"),
        (60.0, "READY"),
    ):
        add(storage, status=status, retention=retention, finished_at=None if status == "READY" else old)
    add(storage, status="SUCCESSFUL", retention=3600.0, finished_at=timezone.now())
    assert storage.maintenance.own_times("default", "retention") == [3600.0, 7200.5]
    assert storage.maintenance.prune("default", FINAL, 60.0) == 1  # those without a time of their own
    assert storage.maintenance.prune_retained("default", 7200.5) == 0
    assert storage.maintenance.prune_retained("default", 3600.0) == 1
    assert storage.maintenance.prune_retained("other", 3600.0) == 0
    assert storage.maintenance.own_times("default", "retention") == [3600.0, 7200.5]


def test_results_are_kept_as_long_as_they_say(storage):
    old, new = timezone.now() - timedelta(hours=2), timezone.now()
    for ttl, ended, result in ((60.0, old, "1"), (60.0, new, "2"), (None, old, "3"), (9000.0, old, "4")):
        add(storage, status="SUCCESSFUL", result_ttl=ttl, finished_at=ended, result=result)
    assert storage.maintenance.own_times("default", "result_ttl") == [60.0, 9000.0]
    assert storage.maintenance.clear_results("default", 60.0) == 1
    assert storage.maintenance.clear_results("default", 60.0) == 0
    assert storage.maintenance.clear_results("other", 9000.0) == 0
    results = Job.objects.using(storage.alias).order_by("id").values_list("result", flat=True)
    assert list(results) == [None, "2", "3", "4"]


def test_pruning_deals_with_every_sort_in_slices(storage, monkeypatch):
    monkeypatch.setattr(prune_module, "SLICE", 2)
    old = timezone.now() - timedelta(days=90)
    for _ in range(3):
        add(storage, status="SUCCESSFUL", finished_at=old)
        add(storage, status="FAILED", retention=60.0, finished_at=old)
        add(storage, status="SUCCESSFUL", retention=1e9, result_ttl=60.0, result="1", finished_at=old)
    settings = Options()
    assert prune_module.prune(storage, "default", settings) == 6
    assert prune_module.prune(storage, "default", settings) == 3
    assert prune_module.prune(storage, "default", settings) == 0
    assert Job.objects.using(storage.alias).count() == 3
