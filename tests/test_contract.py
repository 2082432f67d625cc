"""The verbs of storage: every part has those of the contract, and no others."""

import dataclasses
import inspect

import pytest
from django.conf import settings

from django_tasks_q.storage import contract, session, storage_for
from django_tasks_q.storage.composition import composed
from django_tasks_q.storage.session import Session

PARTS = {
    "jobs": contract.JobVerbs,
    "maintenance": contract.MaintenanceVerbs,
    "workers": contract.WorkerVerbs,
    "queues": contract.QueueVerbs,
    "schedules": contract.ScheduleVerbs,
    "progress": contract.ProgressVerbs,
    "statistics": contract.StatisticVerbs,
    "notifications": contract.NotificationVerbs,
}

STORAGES = [*map(storage_for, settings.DATABASES), composed(Session("default"))]


def verbs(kind):
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_every_part_has_a_contract():
    parts = {field.name for field in dataclasses.fields(contract.Storage)} - {"session", "alias"}
    assert parts == PARTS.keys()


@pytest.mark.parametrize("storage", STORAGES, ids=lambda storage: type(storage.jobs).__name__)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_the_verbs_of_its_contract_and_shares_the_session(storage, part):
    found = getattr(storage, part)
    assert verbs(type(found)) == verbs(PARTS[part])
    assert isinstance(found, session.Part)
    assert found.session is storage.session
    assert found.alias == storage.alias == storage.session.alias


@pytest.mark.once
@pytest.mark.parametrize("part", PARTS)
def test_every_verb_is_documented(part):
    for name in verbs(PARTS[part]):
        assert getattr(PARTS[part], name).__doc__, name
