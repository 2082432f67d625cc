"""Schedules over HTTP: what is told, what is done, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.utils import timezone

from django_tasks_q.models import Firing, Job, Schedule

from .api_support import API, JOBS, login, make_job, make_schedule
from .tasksapp import tasks

pytestmark = pytest.mark.django_db

SCHEDULES = f"{API}schedules/"


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def post(client: Any, verb: str, **body: Any) -> Any:
    return client.post(f"{SCHEDULES}nightly/{verb}/", body, content_type="application/json")


def test_the_list_tells_how_they_stand() -> None:
    make_schedule(timezone="Europe/Berlin", arguments='[["secret"],{}]')
    make_schedule(name="late", next_at=timezone.now() - timedelta(hours=1))
    make_schedule(name="others", backend="other")
    response = login("view_schedule").get(SCHEDULES)
    late, nightly = response.json()
    assert (late["name"], late["state"]) == ("late", "late")
    assert (nightly["name"], nightly["state"], nightly["origin"]) == ("nightly", "active", "database")
    assert nightly["description"] == "At 03:00 every day"
    assert len(nightly["upcoming"]) == 5
    assert "secret" not in response.content.decode()
    assert login("view_schedule", name="b").get(f"{SCHEDULES}nightly/").json() == nightly


def test_what_is_done_is_told_and_done() -> None:
    make_schedule()
    client = login("view_schedule", "enable_schedule", "run_schedule")
    told = post(client, "disable", reason="floods").json()
    assert (told["state"], told["disabled_by"], told["disable_reason"]) == ("disabled", "user", "floods")
    assert (told["next_at"], told["upcoming"]) == (None, [])
    assert post(client, "enable").json()["state"] == "active"
    told = post(client, "run").json()
    assert told["job"] == str(Job.objects.get().id)
    assert Job.objects.get().task_name == tasks.noop.name
    before = Schedule.objects.get().next_at
    told = post(client, "skip", reason="holiday").json()
    assert Firing.objects.filter(tick=before, outcome="skipped", reason="holiday").exists()
    assert told["skipped"][:19] == f"{before:%Y-%m-%dT%H:%M:%S}"
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert [name for name, _ in entries] == ["nightly"] * 4
    assert "Disable" in entries[0][1]
    assert "floods" in entries[0][1]
    # To do it again is no harm.
    assert post(client, "enable").status_code == 200


def test_what_cannot_be_done_is_a_conflict() -> None:
    make_schedule(task_name="of.nobody", enabled=False, next_at=None)
    client = login("view_schedule", "run_schedule")
    for verb, why in (("run", "No task is named"), ("skip", "no next time")):
        response = post(client, verb)
        assert (response.status_code, why in response.json()["detail"]) == (409, True)
    assert not Job.objects.exists()
    assert client.post(f"{SCHEDULES}nobody/run/", {}, content_type="application/json").status_code == 404
    assert post(client, "run", unheard_of=1).status_code == 400


def test_jobs_are_found_by_their_schedule() -> None:
    schedule, mine = make_schedule(), make_job()
    make_job()
    now = timezone.now()
    Firing.objects.create(schedule=schedule, tick=now, fired_at=now, outcome="fired", job_id=mine.pk)
    found = login("view_job").get(f"{JOBS}?schedule=nightly").json()["results"]
    assert [job["id"] for job in found] == [str(mine.pk)]
