"""The settings of the planner that a worker's hot statements need, and that no other statement has."""

import uuid

import pytest
from django.db import connections

from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.models import Job, Worker
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.postgresql.prepared_session import PLANS

ALIAS = "postgres"
CLAIM = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"])

pytestmark = pytest.mark.django_db(transaction=True, databases=[ALIAS])


@pytest.fixture
def storage(monkeypatch):
    """As a worker has it, in a session of its own."""
    storage = storage_for(ALIAS)
    connections[ALIAS].close()
    monkeypatch.setattr(storage.session.prepared, "is_worker", True)
    monkeypatch.setattr(storage.jobs, "_reached", None)
    connections[ALIAS].ensure_connection()
    yield storage
    storage.session.disconnect()


def settings_now():
    """The settings of the session, by the driver: nobody changes them for that."""
    with connections[ALIAS].connection.cursor() as cursor:
        names = ", ".join(f"current_setting('{name}')" for name in PLANS)
        cursor.execute(f"SELECT {names}")
        return dict(zip(PLANS, cursor.fetchone(), strict=True))


def test_only_the_hot_statements_have_them(storage):
    usual = settings_now()
    storage.jobs.claim(CLAIM, 1)
    assert settings_now() == PLANS != usual
    Job.objects.using(ALIAS).first()
    assert settings_now() == usual
    storage.jobs.finish([Outcome.released(uuid.uuid4(), 1)])
    assert settings_now() == PLANS
    Worker.objects.using(ALIAS).first()
    assert settings_now() == usual


def test_a_search_that_ends_at_its_first_hit_has_them(storage):
    usual = settings_now()
    with storage.session.by_index():
        Job.objects.using(ALIAS).first()
        assert settings_now() == PLANS
    Job.objects.using(ALIAS).first()
    assert settings_now() == usual


def test_those_of_the_project_come_back(storage):
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SET enable_sort = off; SET jit = on")
    usual = settings_now()
    storage.jobs.claim(CLAIM, 1)
    assert settings_now() == PLANS
    Worker.objects.using(ALIAS).first()
    assert settings_now() == usual


def test_a_rollback_takes_them_back_and_the_session_knows(storage):
    storage.jobs.claim(CLAIM, 1)
    Worker.objects.using(ALIAS).first()
    with pytest.raises(ZeroDivisionError), storage.session.transaction():
        storage.jobs.claim(CLAIM, 1)
        assert settings_now() == PLANS
        raise ZeroDivisionError
    assert settings_now() != PLANS
    storage.jobs.claim(CLAIM, 1)
    assert settings_now() == PLANS
    with pytest.raises(ZeroDivisionError), storage.session.transaction():
        Worker.objects.using(ALIAS).first()
        raise ZeroDivisionError
    assert settings_now() == PLANS
    Worker.objects.using(ALIAS).first()
    assert settings_now() != PLANS


def test_a_session_that_is_replaced_keeps_them_apart_too(storage):
    storage.jobs.claim(CLAIM, 1)
    storage.session.disconnect()
    storage.jobs.claim(CLAIM, 1)
    assert settings_now() == PLANS
    Worker.objects.using(ALIAS).first()
    assert settings_now() != PLANS


def test_who_is_no_worker_never_has_them(monkeypatch, storage):
    monkeypatch.setattr(storage.session.prepared, "is_worker", False)
    usual = settings_now()
    for _ in range(10):
        storage.jobs.claim(CLAIM, 1)
    with storage.session.by_index():
        assert settings_now() == usual
