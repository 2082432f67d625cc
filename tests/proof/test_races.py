"""Two sessions at the same rows: the first holds them in an open transaction, the second waits or passes.

Nothing sleeps: the second is known to wait when the server says so.
"""

import threading
import uuid
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import actions
from django_tasks_q.actions import Reason
from django_tasks_q.exceptions import WorkerLost
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.orm import maintenance
from django_tasks_q.storage.postgresql import jobs as postgresql_jobs

from ..project import wait_for

ALIAS = "postgres"
ONE, TWO = uuid.uuid4(), uuid.uuid4()
pytestmark = pytest.mark.django_db(transaction=True, databases=[ALIAS])

WAITS = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"


@pytest.fixture
def storage():
    return storage_for(ALIAS)


class Second:
    """A verb in a session of its own, in a thread."""

    def __init__(self, verb):
        self.verb = verb
        self.answer = self.error = self.pid = None
        self.connected = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.connected.wait(10)

    def _run(self):
        try:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute("SELECT PG_BACKEND_PID()")
                (self.pid,) = cursor.fetchone()
            self.connected.set()
            self.answer = self.verb()
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def waits(self):
        """Whether it has come to a lock that somebody else holds."""
        with psycopg.connect(**connections[ALIAS].get_connection_params(), autocommit=True) as observer:
            return bool(observer.execute(WAITS, [self.pid]).fetchone()[0])

    def result(self):
        self.thread.join(20)
        assert not self.thread.is_alive()
        assert self.error is None, self.error
        return self.answer


@contextmanager
def holding(verb):
    """Leave a verb's effect uncommitted for the length of the block. Yields its answer."""
    with transaction.atomic(using=ALIAS):
        yield verb()


def meet(first, second, *, blocks):
    """Answers what both answer, the second of which starts while the first has its rows locked."""
    with holding(first) as answer:
        other = Second(second)
        if blocks:
            wait_for(other.waits)
        else:
            other.thread.join(20)
            assert not other.thread.is_alive(), "it waited for a lock"
    return answer, other.result()


def add(storage, **values):
    values = {"task_name": "a", "status": JobStatus.READY, "enqueued_at": timezone.now(), **values}
    job = Job(id=uuid7(), queue_name="d", backend="default", arguments="[[],{}]", **values)
    Job.objects.using(storage.alias).bulk_create([job])
    return job


def claiming(storage, worker_id=ONE):
    return lambda: storage.jobs.claim(Claim(worker_id=worker_id, backend="default", task_names=["a"]), 10)


def take(storage, worker_id=ONE):
    add(storage)
    (job,) = claiming(storage, worker_id)()
    return job


def finishing(storage, job, result="1"):
    return lambda: set(storage.jobs.finish([Outcome.successful(job.id, job.fence, result, 0.1)]))


def releasing(storage, job):
    return lambda: set(storage.jobs.finish([Outcome.released(job.id, job.fence)]))


def rescuing(storage, job):
    return lambda: set(
        storage.jobs.finish([Outcome.crashed(job.id, job.fence, WorkerLost("gone"), True, False)])
    )


def row():
    return Job.objects.using(ALIAS).get()


def kinds():
    return list(Attempt.objects.using(ALIAS).values_list("outcome", flat=True))


def test_of_two_finishes_the_first_wins(storage):
    job = take(storage)
    first, second = meet(finishing(storage, job, "1"), finishing(storage, job, "2"), blocks=True)
    assert (first, second, row().result) == ({job.id}, set(), "1")


def test_an_older_fence_does_not_even_wait_for_a_claim(storage):
    old = take(storage)
    storage.jobs.finish([Outcome.released(old.id, old.fence)])
    (new,), won = meet(claiming(storage, TWO), finishing(storage, old), blocks=False)
    assert (won, new.fence, row().status, row().worker_id) == (set(), 2, "RUNNING", TWO)


def test_an_older_fence_does_not_even_wait_for_a_finish(storage):
    old = take(storage)
    storage.jobs.finish([Outcome.released(old.id, old.fence)])
    (new,) = claiming(storage, TWO)()
    first, second = meet(finishing(storage, new, "2"), finishing(storage, old, "1"), blocks=False)
    assert (first, second, row().result) == ({new.id}, set(), "2")


def test_an_older_fence_that_comes_first_stops_nobody(storage):
    old = take(storage)
    storage.jobs.finish([Outcome.released(old.id, old.fence)])
    (new,) = claiming(storage, TWO)()
    first, second = meet(finishing(storage, old, "1"), finishing(storage, new, "2"), blocks=False)
    assert (first, second, row().result) == (set(), {new.id}, "2")


def test_a_rescue_passes_by_what_is_being_finished(storage):
    job = take(storage)
    first, second = meet(finishing(storage, job), rescuing(storage, job), blocks=False)
    assert (first, second, row().status, kinds()) == ({job.id}, set(), "SUCCESSFUL", [])


def test_a_finish_loses_to_a_rescue_it_waited_for(storage):
    job = take(storage)
    first, second = meet(rescuing(storage, job), finishing(storage, job), blocks=True)
    assert (first, second, row().status, kinds()) == ({job.id}, set(), "READY", ["lost"])


def test_a_loser_does_no_harm_to_others_of_its_batch(storage):
    lost, kept = take(storage), take(storage)
    outcomes = [Outcome.successful(job.id, job.fence, "1", 0.1) for job in (lost, kept)]
    first, second = meet(rescuing(storage, lost), lambda: set(storage.jobs.finish(outcomes)), blocks=True)
    assert (first, second) == ({lost.id}, {kept.id})


def test_a_claim_passes_by_what_another_claim_has_locked(storage):
    for _ in range(3):
        add(storage)
    one = lambda: storage.jobs.claim(Claim(worker_id=ONE, backend="default", task_names=["a"]), 1)  # noqa: E731
    first, second = meet(one, claiming(storage, TWO), blocks=False)
    assert (len(first), len(second)) == (1, 2)
    assert not {job.id for job in first} & {job.id for job in second}


def test_what_a_claim_gave_up_again_is_there_for_the_next(storage):
    add(storage)
    with pytest.raises(KeyboardInterrupt), holding(claiming(storage)):
        raise KeyboardInterrupt
    assert [job.fence for job in claiming(storage, TWO)()] == [1]


def old_job(storage):
    past = timezone.now() - timedelta(days=1)
    return add(storage, status=JobStatus.SUCCESSFUL, finished_at=past)


def pruning(storage):
    return lambda: storage.maintenance.prune("default", {JobStatus.SUCCESSFUL}, 60.0)


def test_a_prune_and_a_claim_do_not_meet(storage):
    old_job(storage)
    add(storage)
    first, second = meet(claiming(storage), pruning(storage), blocks=False)
    assert (len(first), second, row().status) == (1, 1, "RUNNING")
    old_job(storage)
    storage.jobs.finish([Outcome.released(first[0].id, first[0].fence)])
    first, second = meet(pruning(storage), claiming(storage), blocks=False)
    assert (first, len(second)) == (1, 1)


def test_a_prune_leaves_a_job_that_is_being_retried(storage):
    job = old_job(storage)

    def retry():
        return Job.objects.using(ALIAS).filter(id=job.id).update(status="READY", finished_at=None)

    assert meet(retry, pruning(storage), blocks=False) == (1, 0)
    assert row().status == "READY"


def test_a_retry_of_what_is_being_pruned_finds_nothing(storage):
    job = old_job(storage)

    def retry():
        return Job.objects.using(ALIAS).filter(id=job.id, status="SUCCESSFUL").update(status="READY")

    assert meet(pruning(storage), retry, blocks=True) == (1, 0)


def worker(storage, lease):
    storage.workers.register(
        Worker(id=ONE, name="w", hostname="h", pid=1, backend="default", processes=1, version="1"), lease
    )


def test_a_heartbeat_that_is_not_yet_written_does_not_make_its_jobs_lost(storage):
    worker(storage, 60.0)
    take(storage)
    first, second = meet(
        lambda: storage.workers.heartbeat(ONE, 60.0),
        lambda: storage.maintenance.lost("default"),
        blocks=False,
    )
    assert (first, second) == (True, [])


def test_a_heartbeat_comes_too_late_while_a_rescue_is_being_written(storage):
    worker(storage, -1.0)
    job = take(storage)
    first, second = meet(rescuing(storage, job), lambda: storage.workers.heartbeat(ONE, 60.0), blocks=False)
    assert (first, second) == ({job.id}, False)


def test_a_heartbeat_loses_to_an_end_of_its_lease_it_waited_for(storage):
    worker(storage, 60.0)
    _, alive = meet(
        lambda: storage.workers.unregister(ONE), lambda: storage.workers.heartbeat(ONE, 60.0), blocks=True
    )
    assert alive is False


def due(storage):
    return add(storage, status=JobStatus.SCHEDULED, run_after=timezone.now() - timedelta(seconds=1))


def test_a_claim_does_not_see_what_is_being_promoted(storage):
    due(storage)
    first, second = meet(lambda: storage.maintenance.promote("default"), claiming(storage), blocks=False)
    assert (first, second) == (1, [])
    assert len(claiming(storage)()) == 1


def test_a_second_promotion_passes_by_the_first(storage):
    due(storage)
    promoting = lambda: storage.maintenance.promote("default")  # noqa: E731
    assert meet(promoting, promoting, blocks=False) == (1, 0)


def test_a_promotion_and_a_claim_of_another_job_do_not_meet(storage):
    due(storage)
    add(storage)
    first, second = meet(claiming(storage), lambda: storage.maintenance.promote("default"), blocks=False)
    assert (len(first), second) == (1, 1)


def cancelling(storage, job):
    return lambda: storage.jobs.cancel([job.id])


def test_a_cancellation_and_an_ending_meet(storage):
    """Whoever comes first decides; the other waits, and sees what has become of the job."""
    job = take(storage)
    ended, cancelled = meet(finishing(storage, job), cancelling(storage, job), blocks=True)
    assert (ended, cancelled) == ({job.id}, (set(), set()))
    assert row().status == "SUCCESSFUL"


def test_a_cancellation_that_comes_first_stops_the_next_run(storage):
    job = take(storage)
    cancelled, _ = meet(cancelling(storage, job), releasing(storage, job), blocks=True)
    assert cancelled == (set(), {job.id})
    assert row().status == "CANCELLED"


def test_a_claim_passes_by_what_is_being_cancelled(storage):
    waiting = add(storage)
    cancelled, claimed = meet(cancelling(storage, waiting), claiming(storage, ONE), blocks=False)
    assert (cancelled.done, claimed) == ({waiting.id}, [])


def test_a_cancellation_waits_for_a_claim_and_asks_the_attempt(storage):
    waiting = add(storage)
    (job,), cancelled = meet(claiming(storage, ONE), cancelling(storage, waiting), blocks=True)
    assert (cancelled, row().status) == ((set(), {job.id}), "RUNNING")
    assert storage.jobs.cancelling(ONE) == {job.id}


def test_an_old_snapshot_keeps_no_job_from_its_worker(storage, monkeypatch):
    """Nothing of what has ended since can be cleaned away; claims pass by all of it, at little cost."""
    count, batch = 20_000, 100
    monkeypatch.setattr(postgresql_jobs, "KEEP_ON", 60.0)  # else it depends on the time which claim goes on
    claim, other = (Claim(worker_id=id, backend="default", task_names=["a"]) for id in (ONE, TWO))
    Job.objects.using(ALIAS).bulk_create([_waiting() for _ in range(count)])
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(f"ANALYZE {Job._meta.db_table}")
    at_first = pages_of(lambda: storage.jobs.claim(other, batch))
    with psycopg.connect(**connections[ALIAS].get_connection_params()) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM django_tasks_q_job")
        for left in range(count, 0, -batch):
            if left == batch:
                at_last = pages_of(lambda: storage.jobs.claim(claim, batch))
            jobs = storage.jobs.claim(claim, batch)
            assert len(jobs) == batch
            storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in jobs])
    assert Job.objects.using(ALIAS).filter(status="SUCCESSFUL", fence=1, attempts=1).count() == count
    # A claim from the front reads five hundred pages more: all that the jobs before have left.
    assert batch < at_last < at_first + count / 100


def pages_of(verb):
    """How many pages the statements of a verb touch, all of which is taken back."""
    pages = []

    def explain(execute, sql, params, many, context):
        if sql.split()[0] in ("SELECT", "UPDATE", "WITH"):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
                plan = cursor.fetchone()[0][0]["Plan"]
                cursor.execute("ROLLBACK TO explained")
            pages.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        return execute(sql, params, many, context)

    with transaction.atomic(using=ALIAS):
        with connections[ALIAS].execute_wrapper(explain):
            verb()
        transaction.set_rollback(True, using=ALIAS)
    return sum(pages)


def _waiting():
    return Job(
        id=uuid7(), task_name="a", queue_name="default", backend="default", arguments="[[],{}]",
        enqueued_at=timezone.now(),
    )  # fmt: skip


def test_a_lease_is_not_renewed_by_a_heartbeat_that_began_before_its_end(storage):
    """Its jobs are another's by the time it is written, so it must not be told that they are its own."""
    worker(storage, 0.5)
    job = take(storage)
    with transaction.atomic(using=ALIAS):
        alive = storage.workers.heartbeat(ONE, 60.0)
        found = wait_for(lambda: Second(lambda: storage.maintenance.lost("default")).result())
        rescue = Second(rescuing(storage, job))
        rescue.thread.join(20)
    assert [lost.id for lost in found] == [job.id]
    assert not (alive and rescue.result()), "renewed, and rescued as well"


# What people do, while workers are at it


def acting(verb, job, **values):
    return lambda: verb(job.id, using=ALIAS, **values)


HOUR = timedelta(hours=1)
ON_READY = {
    "discard": (actions.discard, {}, "CANCELLED"),
    "cancel": (actions.cancel, {}, "CANCELLED"),
    "reschedule": (actions.reschedule, {"at": HOUR}, "SCHEDULED"),
}


@pytest.mark.parametrize("verb", ON_READY)
def test_a_job_that_is_being_claimed_is_not_taken_away(storage, verb):
    perform, values, _ = ON_READY[verb]
    job = add(storage)
    (claimed,), answer = meet(claiming(storage), acting(perform, job, **values), blocks=True)
    assert claimed.id == job.id
    assert (answer.done, row().status) == (set(), "RUNNING")
    if verb == "cancel":
        assert answer.requested == {job.id}
    else:
        assert answer.skipped == {Reason.RUNNING: {job.id}}


@pytest.mark.parametrize("verb", ON_READY)
def test_a_job_that_is_being_taken_away_is_not_claimed(storage, verb):
    perform, values, status = ON_READY[verb]
    job = add(storage)
    answer, claimed = meet(acting(perform, job, **values), claiming(storage), blocks=False)
    assert (answer.done, claimed, row().status) == ({job.id}, [], status)


def test_a_job_whose_priority_changes_is_claimed_with_either(storage):
    job = add(storage)
    answer, claimed = meet(acting(actions.change, job, priority=7), claiming(storage), blocks=False)
    assert (answer.done, claimed, row().priority) == ({job.id}, [], 7)
    assert [found.priority for found in claiming(storage)()] == [7]


@pytest.mark.parametrize("verb", [actions.delete, actions.retry, actions.dismiss, actions.discard])
def test_a_verb_for_what_has_ended_neither_waits_for_a_finish_nor_breaks_it(storage, verb):
    job = take(storage)
    won, answer = meet(finishing(storage, job), acting(verb, job), blocks=False)
    assert (won, answer.done, answer.skipped) == ({job.id}, set(), {Reason.RUNNING: {job.id}})
    assert row().status == "SUCCESSFUL"


def failed(storage):
    job = take(storage)
    storage.jobs.finish([Outcome.crashed(job.id, job.fence, WorkerLost("gone"), again=False, poison=True)])
    return job


def test_of_two_retries_the_first_counts(storage):
    job = failed(storage)
    first, second = meet(acting(actions.retry, job), acting(actions.retry, job), blocks=True)
    assert (first.done, second.done, second.skipped) == ({job.id}, set(), {Reason.WAITING: {job.id}})
    assert (row().status, row().fence) == ("READY", 1)


def test_a_job_that_is_being_deleted_is_not_retried(storage):
    job = failed(storage)
    first, second = meet(acting(actions.delete, job), acting(actions.retry, job), blocks=True)
    assert (first.done, second.skipped) == ({job.id}, {Reason.GONE: {job.id}})


def test_a_job_that_is_being_retried_is_not_deleted(storage):
    job = failed(storage)
    first, second = meet(acting(actions.retry, job), acting(actions.delete, job), blocks=True)
    assert (first.done, second.skipped, row().status) == ({job.id}, {Reason.WAITING: {job.id}}, "READY")
    assert kinds() == ["lost"]


@pytest.mark.parametrize("verb", [actions.pin, actions.retry])
def test_a_job_that_is_being_kept_is_not_pruned(storage, verb):
    job = failed(storage)
    Job.objects.using(ALIAS).update(finished_at=timezone.now() - timedelta(days=9))
    first, pruned = meet(
        acting(verb, job),
        lambda: storage.maintenance.prune("default", {JobStatus.FAILED}, 60.0),
        blocks=False,
    )
    assert (first.done, pruned, Job.objects.using(ALIAS).count()) == ({job.id}, 0, 1)
    assert storage.maintenance.prune("default", {JobStatus.FAILED}, 60.0) == 0


def test_of_two_claims_under_a_limit_one_waits_for_the_other(storage):
    actions.limit("d", 1, using=ALIAS)
    add(storage), add(storage)

    def claim(worker_id):
        terms = Claim(worker_id=worker_id, backend="default", task_names=["a"])
        return lambda: storage.jobs.claim_limited(terms, "d", 10)

    first, second = meet(claim(ONE), claim(TWO), blocks=True)
    assert (len(first), second) == (1, [])


def test_a_limit_holds_where_a_transaction_sees_nothing_but_its_beginning(storage):
    """It waits for another one, and would then count what ran before that."""
    actions.limit("d", 1, using=ALIAS)
    add(storage), add(storage, task_name="b")

    def claim(worker_id, name):
        terms = Claim(worker_id=worker_id, backend="default", task_names=[name])
        return lambda: storage.jobs.claim_limited(terms, "d", 10)

    options = connections[ALIAS].settings_dict["OPTIONS"]
    options["isolation_level"] = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        first, second = meet(claim(ONE, "a"), claim(TWO, "b"), blocks=True)
    finally:
        del options["isolation_level"]
    assert (len(first), second) == (1, [])


def test_a_job_that_was_chosen_to_be_pruned_and_pinned_since_stays(storage, monkeypatch):
    """By the statements for every database; that of PostgreSQL chooses and locks at once."""
    job = failed(storage)
    Job.objects.using(ALIAS).update(finished_at=timezone.now() - timedelta(days=9))
    monkeypatch.setattr(maintenance, "failpoint", lambda name: actions.pin(job.id, using=ALIAS))
    verbs = maintenance.Maintenance(storage.session)
    assert verbs.prune("default", {JobStatus.FAILED}, 60.0) == 0
    assert row().pinned_at is not None


def test_a_job_that_somebody_is_pinning_is_not_pruned_meanwhile(storage):
    job = failed(storage)
    Job.objects.using(ALIAS).update(finished_at=timezone.now() - timedelta(days=9))
    _, pruned = meet(
        lambda: actions.pin(job.id, using=ALIAS),
        lambda: storage.maintenance.prune("default", {JobStatus.FAILED}, 60.0),
        blocks=False,
    )
    assert pruned == 0
    assert storage.maintenance.prune("default", {JobStatus.FAILED}, 60.0) == 0
    actions.unpin(job.id, using=ALIAS)
    assert storage.maintenance.prune("default", {JobStatus.FAILED}, 60.0) == 1


def test_a_pause_that_is_not_committed_is_waited_for_by_a_limited_claim(storage):
    actions.limit("d", 1, using=ALIAS)
    add(storage)
    terms = Claim(worker_id=ONE, backend="default", task_names=["a"])
    _, claimed = meet(
        lambda: actions.pause("d", using=ALIAS),
        lambda: storage.jobs.claim_limited(terms, "d", 10),
        blocks=True,
    )
    assert claimed == []
