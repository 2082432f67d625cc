"""Actions on the page of a job: with Django's action locations since 6.1, with buttons before."""

from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from django_tasks_q.admin import action_locations
from django_tasks_q.models import Job

from .admin_support import ACTION, JOBS, Page, make_failed, make_job, page, staff

pytestmark = pytest.mark.django_db

since_6_1 = pytest.mark.skipif(django.VERSION < (6, 1), reason="Django knows no locations of actions")
before_6_1 = pytest.mark.skipif(django.VERSION >= (6, 1), reason="Django has a place for actions")

RETRY = ("view_job", "retry_job")


def chosen(job: Job, name: str = "retry", **more: Any) -> dict[str, Any]:
    return {ACTION: name, "_selected_action": str(job.pk), "next": page(job), **more}


@before_6_1
def test_buttons_post_to_the_actions_before_django_6_1() -> None:
    job = make_failed()
    assert action_locations.OBJECT_PAGE is None
    response = staff(*RETRY).get(page(job))
    assert f'formaction="{JOBS}actions/retry/"' in response.content.decode()
    assert "CHANGE_FORM" not in response.content.decode()
    assert staff(*RETRY, name="other").post(page(job), chosen(job)).status_code == 405


@since_6_1
def test_a_verb_is_an_action_of_django_and_asks_before_it_does_anything() -> None:
    client, job = staff(*RETRY), make_failed()
    shown = client.get(page(job))
    assert [button for button in Page(shown).buttons if button] == ["/actions/retry/"]
    assert "formaction" not in shown.content.decode()
    asked = client.post(page(job), chosen(job))
    assert asked.status_code == 200
    assert "Retry 1 job?" in Page(asked).text
    assert Job.objects.get().status == "FAILED"
    form = asked.context_data
    done = client.post(f"{JOBS}actions/retry/", {"ids": form["ids"], "next": form["next"], "confirmed": "1"})
    assert (done.status_code, done["Location"]) == (302, page(job))
    assert Job.objects.get().status == "READY"


@since_6_1
def test_only_what_the_user_may_and_the_state_allows_is_offered_and_done() -> None:
    client = staff("view_job", "retry_job", "cancel_job")
    failed, running = make_failed(), make_job(status="RUNNING")
    assert [each for each in Page(client.get(page(failed))).buttons if each] == ["/actions/retry/"]
    assert [each for each in Page(client.get(page(running))).buttons if each] == ["/actions/cancel/"]
    for name in ("delete", "delete_selected", "unknown", ""):
        response = client.post(page(failed), chosen(failed, name))
        assert response.status_code == 302, name
        assert "No action selected." in Page(client.get(page(failed))).text
    assert "Nothing to do." in Page(client.post(page(running), chosen(running))).text
    assert Job.objects.count() == 2
    assert staff("retry_job", name="blind").post(page(failed), chosen(failed)).status_code == 403
    reader = staff("view_job", name="reader")
    assert "CHANGE_FORM" not in reader.get(page(failed)).content.decode()
    assert reader.post(page(failed), chosen(failed)).status_code == 302


@since_6_1
def test_an_action_changes_only_the_job_of_its_page() -> None:
    client, job, other = staff(*RETRY), make_failed(), make_failed()
    for ids in (str(other.pk), [str(job.pk), str(other.pk)], "x", []):
        assert client.post(page(job), {ACTION: "retry", "_selected_action": ids}).status_code == 400
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    assert strict.post(page(job), chosen(job)).status_code == 403
    assert set(Job.objects.values_list("status", flat=True)) == {"FAILED"}


@pytest.fixture
def with_project_action() -> Iterator[list[Any]]:
    """Add an action of the project to the page of a job."""
    seen: list[Any] = []

    @admin.action(description="Tell 100%% of %(verbose_name)s", location=action_locations.OBJECT_PAGE)
    def tell(model_admin: Any, request: Any, queryset: Any) -> HttpResponse:
        seen.extend(queryset)
        return HttpResponse("told")

    registered: Any = admin.site._registry[Job]
    registered.actions = [tell]
    yield seen
    del registered.actions


@since_6_1
def test_a_project_adds_actions(with_project_action: list[Any]) -> None:
    client, job = staff("view_job"), make_failed()
    shown = Page(client.get(page(job)))
    assert "Tell 100% of job" in shown.text
    assert client.post(page(job), chosen(job, "tell")).content == b"told"
    assert with_project_action == [job]


def nothing(request: Any, jobs: Any) -> Any:
    return jobs.none() if request.method == "POST" else jobs


@since_6_1
def test_an_action_of_a_project_gets_only_visible_jobs(with_project_action: list[Any], settings: Any) -> None:
    options = {"SCOPE_JOBS": "tests.test_admin_locations.nothing"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    job = make_failed()
    assert staff("view_job").post(page(job), chosen(job, "tell")).status_code == 302
    assert with_project_action == []
