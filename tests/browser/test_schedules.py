"""The screens about schedules in a browser, with its script and without."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import follow
from .site import Site

FILL = """
from datetime import timedelta
from django.utils import timezone
from django_tasks_q import actions
from django_tasks_q.models import Firing, Job, Schedule
for name, cron, zone in (
    ("nightly report", "0 3 * * *", "Europe/Berlin"),
    ("warm the cache", "*/5 * * * *", "UTC"),
    ("close the month", "0 6 L * *", "America/New_York"),
):
    actions.save_schedule(name, "shop.close_day", args=["2026-01-31"], cron=cron, timezone=zone)
actions.save_schedule("every second", "shop.close_day", args=["2026-01-31"], every=1)
actions.disable_schedule("close the month", by="ada", reason="the books are open")
now = timezone.now()
Schedule.objects.filter(name="nightly report").update(next_at=now - timedelta(hours=2))
states = ["SUCCESSFUL", "SUCCESSFUL", "FAILED", "SUCCESSFUL", "RUNNING", "READY", "CANCELLED"]
for schedule in Schedule.objects.all():
    for number, state in enumerate(states):
        job = Job.objects.create(task_name="shop.close_day", queue_name="default", backend="default",
                                 arguments='[["2026-01-31"],{}]', enqueued_at=now, status=state)
        Firing.objects.create(schedule=schedule, tick=now - timedelta(hours=9 - number), outcome="fired",
                              fired_at=now, job_id=job.pk)
    Firing.objects.create(schedule=schedule, tick=now - timedelta(hours=2), outcome="overlap", fired_at=now)
    Firing.objects.create(schedule=schedule, tick=now - timedelta(hours=1), outcome="missed", fired_at=now)
"""


def address(site: Site, path: str = "") -> str:
    return f"{site.url}/django_tasks_q/schedule/{path}"


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_a_schedule_is_made_run_skipped_disabled_and_deleted(
    site: Site, open_page: Any, script: bool
) -> None:
    page = open_page(script=script)
    page.goto(address(site))
    follow(page, page.get_by_role("link", name="Add a schedule"))
    page.fill("[name=name]", "nightly")
    page.select_option("[name=task]", "shop.close_day")
    page.fill("[name=args]", '["2026-01-31"]')
    page.fill("[name=expression]", "0 3 * *")
    follow(page, page.get_by_role("button", name="Save"))
    assert "no cron expression" in page.inner_text(".tasks")
    page.fill("[name=expression]", "0 3 * * *")
    page.fill("[name=timezone]", "Europe/Berlin")
    follow(page, page.get_by_role("button", name="Save"))
    assert page.locator("h1", has_text="nightly").count()
    assert page.locator("time", has_text="03:00:00").count() == 5
    for button, confirm in (("Run nightly now", "Run now"), ("Skip the next run of", "Skip the next run")):
        follow(page, page.get_by_role("button", name=button))
        page.fill("[name=reason]", "to see it")
        follow(page, page.get_by_role("button", name=confirm))
        page.locator("h1", has_text="nightly").wait_for()
    follow(page, page.get_by_role("button", name="Disable nightly"))
    page.fill("[name=reason]", "enough")
    follow(page, page.get_by_role("button", name="Disable"))
    assert "enough" in page.inner_text(".tasks-problem")
    follow(page, page.get_by_role("button", name="Enable nightly"))
    follow(page, page.get_by_role("link", name="Show the jobs"))
    assert page.locator(".tasks-jobs tbody tr").count() == 1
    follow(page, page.get_by_role("link", name="shop.close_day"))
    follow(page, page.locator("dd a", has_text="nightly"))
    follow(page, page.get_by_role("button", name="Delete"))
    follow(page, page.get_by_role("button", name="Delete"))
    assert "There are no schedules" in page.inner_text(".tasks")


def test_the_list_and_the_dashboard_tell_what_is_late(site: Site, open_page: Any) -> None:
    site.shell(FILL)
    page = open_page()
    page.goto(address(site))
    rows = page.locator(".tasks-stack tbody tr")
    assert rows.count() == 4
    row = rows.filter(has_text="nightly report")
    assert "Late" in row.inner_text()
    assert row.locator(".tasks-mark").count() == 9
    assert "by ada" in rows.filter(has_text="close the month").inner_text()
    page.goto(f"{site.url}/django_tasks_q/job/dashboard/")
    assert "schedules are late: " in page.inner_text(".tasks-notices") or "late: nightly" in page.inner_text(
        ".tasks-notices"
    )
