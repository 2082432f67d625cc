"""Endings and claims that go to the database together, while their sender does something else."""

import json
import uuid

import psycopg
import pytest
from django.db import DatabaseError, Error, IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.postgresql import jobs as postgresql
from django_tasks_q.storage.postgresql import prepared_session

from .test_storage import add, attempts, claim, failure, row, success, take

ME = uuid.uuid4()
CLAIM = Claim(worker_id=ME, backend="default", task_names=["a"])
MANY = 40


@pytest.fixture
def storage(storage_alias, monkeypatch):
    """As a worker has it: with its own plans, and statements that are prepared at once."""
    storage = storage_for(storage_alias)
    connections[storage_alias].close()
    if storage_alias == "postgres":
        monkeypatch.setattr(storage.session.prepared, "is_worker", True)
        storage.jobs._reached = None
    yield storage
    connections[storage_alias].close()


def exchange(storage, outcomes, limit=MANY):
    return storage.jobs.round_trip(outcomes, CLAIM, limit).result()


def test_endings_are_written_and_jobs_claimed(storage):
    first = [take(storage) for _ in range(3)]
    waiting = [add(storage) for _ in range(3)]
    written, jobs = exchange(storage, [success(job, json.dumps(job.queue_name)) for job in first])
    assert written == {job.id: JobStatus.SUCCESSFUL for job in first}
    assert [job.id for job in jobs] == [job.id for job in waiting]
    assert {row(storage, job).return_value for job in first} == {"default"}
    assert {(row(storage, job).worker_id, row(storage, job).fence) for job in jobs} == {(ME, 1)}


def test_every_kind_of_ending_may_be_among_them(storage):
    done, failed, again = (take(storage) for _ in range(3))
    storage.jobs.finish([Outcome.failed(again.id, again.fence, FAILURE, 0, 0.1)])
    (again,) = claim(storage)
    written, jobs = exchange(storage, [success(done), failure(failed, retry_after=None), success(again)])
    assert set(written.values()) == {JobStatus.SUCCESSFUL, JobStatus.FAILED}
    assert jobs == []
    assert [attempt.outcome for attempt in attempts(storage, again)] == ["failed", "successful"]
    assert attempts(storage, done) == []


FAILURE = Failure("CODE", "builtins.ValueError", "message", "traceback")


def test_a_second_success_has_its_row_too(storage):
    job = take(storage)
    storage.jobs.finish([Outcome.failed(job.id, job.fence, FAILURE, 0, 0.1)])
    (again,) = claim(storage)
    exchange(storage, [success(again)])
    assert [attempt.number for attempt in attempts(storage, job)] == [1, 2]


def test_what_is_not_the_attempts_any_more_is_missing_from_the_answer(storage):
    mine, lost = take(storage), take(storage)
    written, _ = exchange(storage, [success(mine), success(lost._replace(fence=lost.fence - 1))])
    assert set(written) == {mine.id}
    assert row(storage, lost).status == "RUNNING"


def test_without_a_limit_nothing_is_claimed(storage):
    job, waiting = take(storage), add(storage)
    assert exchange(storage, [success(job)], limit=0) == ({job.id: JobStatus.SUCCESSFUL}, [])
    assert row(storage, waiting).status == "READY"


@pytest.mark.parametrize(
    "result", ['"\\u0001"', '"\\\\ \\" { } , NULL"', '"ü 漢 🙂"', "null", "[1,{}]", '"\t"']
)
def test_results_come_back_as_they_were(storage, result):
    job = take(storage)
    exchange(storage, [success(job, result)])
    assert row(storage, job).result == result


def test_more_than_one_statement_can_claim_are_claimed_all_the_same(storage):
    waiting = {add(storage).id for _ in range(MANY)}
    claimed = [job.id for _ in range(8) for job in storage.jobs.claim(CLAIM, 5)]
    assert len(claimed) == len(set(claimed)) == MANY
    assert set(claimed) == waiting


def test_a_refused_ending_takes_the_claim_back(storage):
    if storage.alias != "postgres":
        pytest.skip("others store it")
    job, waiting = take(storage), add(storage)
    with pytest.raises(DatabaseError):
        exchange(storage, [success(job, '"\x00"')])
    assert (row(storage, job).status, row(storage, waiting).status) == ("RUNNING", "READY")
    assert len(exchange(storage, [success(job)])[1]) == 1


# PostgreSQL


@pytest.fixture
def postgres(storage):
    if storage.alias != "postgres":
        pytest.skip("only PostgreSQL's statements fly")
    return storage


def test_an_exchange_is_one_transaction_that_nobody_waits_for(postgres):
    job, waiting = take(postgres), add(postgres)
    flying = postgres.jobs.round_trip([success(job)], CLAIM, 1)
    assert flying.is_in_flight
    assert flying.fileno() > 0
    flying.result()
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT xmin FROM django_tasks_q_job WHERE id IN (%s, %s)", [job.id, waiting.id])
        assert len(set(cursor.fetchall())) == 1


def test_a_session_that_ends_under_way_leaves_nothing_half_done(postgres):
    job, waiting = take(postgres), add(postgres)
    params = connections["postgres"].get_connection_params()
    with psycopg.connect(**params) as other:
        other.execute("SELECT 1 FROM django_tasks_q_job WHERE id = %s FOR UPDATE", [job.id])
        flying = postgres.jobs.round_trip([success(job)], CLAIM, 1)
        assert not flying.has_landed()
        other.execute(
            "SELECT pg_terminate_backend(%s)", [connections["postgres"].connection.info.backend_pid]
        )
        with pytest.raises(Error):
            flying.result()
    postgres.session.disconnect()
    assert (row(postgres, job).status, row(postgres, waiting).status) == ("RUNNING", "READY")
    assert len(exchange(postgres, [success(job)])[1]) == 1


def test_an_exchange_that_lost_to_a_concurrent_one_is_made_again(postgres, monkeypatch):
    job, _ = take(postgres), add(postgres)
    flying = postgres.jobs.round_trip([success(job)], CLAIM, 1)
    rows = flying._pipeline.rows

    def conflict():
        rows()
        Job.objects.using("postgres").update(status="RUNNING", fence=1)
        raise psycopg.errors.DeadlockDetected

    monkeypatch.setattr(flying._pipeline, "rows", conflict)
    written, _ = flying.result()
    assert set(written) == {job.id}
    assert row(postgres, job).status == "SUCCESSFUL"


FAILING = """
CREATE SEQUENCE failing;
CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('failing') = 1 THEN RAISE EXCEPTION 'at the commit' USING ERRCODE = '%s'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER failing AFTER UPDATE ON django_tasks_q_job DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.status = 'SUCCESSFUL') EXECUTE FUNCTION fail_once()
"""


@pytest.fixture
def failing(postgres):
    """Have the first commit with a successful job fail. A sequence knows of it after the rollback."""
    with connections["postgres"].cursor() as cursor:
        yield lambda code: cursor.execute(FAILING % code)
        cursor.execute("DROP TRIGGER IF EXISTS failing ON django_tasks_q_job")
        cursor.execute("DROP FUNCTION IF EXISTS fail_once; DROP SEQUENCE IF EXISTS failing")


def test_an_exchange_that_is_refused_at_its_commit_is_made_again(postgres, failing):
    """The server refuses a serializable transaction there, after each statement has succeeded."""
    failing("40001")
    job, waiting = take(postgres), add(postgres)
    flying = postgres.jobs.round_trip([success(job)], CLAIM, 1)
    assert flying.is_in_flight
    written, claimed = flying.result()
    assert set(written) == {job.id}
    assert [each.id for each in claimed] == [waiting.id]
    assert row(postgres, job).status == "SUCCESSFUL"


def test_an_exchange_that_fails_at_its_commit_says_so(postgres, failing):
    failing("23514")
    job, waiting = take(postgres), add(postgres)
    with pytest.raises(IntegrityError, match="at the commit"):
        postgres.jobs.round_trip([success(job)], CLAIM, 1).result()
    assert (row(postgres, job).status, row(postgres, waiting).status) == ("RUNNING", "READY")
    assert len(exchange(postgres, [success(job)])[1]) == 1  # the session can be used


def test_a_worker_goes_on_behind_its_last_claim_and_comes_back(postgres, monkeypatch):
    monkeypatch.setattr(postgresql, "KEEP_ON", 3600.0)
    for _ in range(4):
        add(postgres)
    assert len(postgres.jobs.claim(CLAIM, 2)) == 2
    urgent, late = add(postgres, priority=5), add(postgres)
    assert urgent.id not in {job.id for job in postgres.jobs.claim(CLAIM, 2)}
    # With less behind than it asks for, it looks from the start again.
    assert [job.id for job in postgres.jobs.claim(CLAIM, 3)] == [late.id, urgent.id]


def test_what_is_more_urgent_waits_a_moment_and_no_longer(postgres, monkeypatch):
    monkeypatch.setattr(postgresql, "KEEP_ON", 0.0)
    for _ in range(4):
        add(postgres)
    assert len(postgres.jobs.claim(CLAIM, 2)) == 2
    urgent = add(postgres, priority=5)
    assert urgent.id in {job.id for job in postgres.jobs.claim(CLAIM, 1)}


def test_behind_a_pooler_nothing_stays_with_a_session(postgres, monkeypatch):
    monkeypatch.setattr(prepared_session.PreparedSession, "_is_direct", lambda self, raw, session: False)
    job, _ = take(postgres), add(postgres)
    assert not postgres.jobs.round_trip([success(job)], CLAIM, 1).is_in_flight
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT current_setting('plan_cache_mode')")
        assert cursor.fetchone() == ("auto",)


def test_a_project_can_forbid_that_anything_stays(postgres, monkeypatch):
    monkeypatch.setitem(connections["postgres"].settings_dict["OPTIONS"], "prepare_threshold", None)
    job, _ = take(postgres), add(postgres)
    assert not postgres.jobs.round_trip([success(job)], CLAIM, 1).is_in_flight


def test_the_servers_own_session_is_known_as_such(postgres):
    connections["postgres"].ensure_connection()
    prepared, raw = postgres.session.prepared, connections["postgres"].connection
    assert prepared._is_direct(raw, prepared._session(raw))


def test_somebody_who_watches_the_connection_sees_the_statements(postgres):
    job, _ = take(postgres), add(postgres)
    with CaptureQueriesContext(connections["postgres"]) as queries:
        assert not postgres.jobs.round_trip([success(job)], CLAIM, 1).is_in_flight
        exchange(postgres, [success(job)], 1)
    assert len(queries) == 2


def test_nothing_flies_in_a_transaction_of_the_caller(postgres):
    job = take(postgres)
    with transaction.atomic(using="postgres"):
        assert not postgres.jobs.round_trip([success(job)], CLAIM, 1).is_in_flight
