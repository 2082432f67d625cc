"""What the refresh says of itself, and what the style sheet does, in a real browser."""

from __future__ import annotations

from typing import Any

from .site import Site
from .test_flows import go

GREEN = "getComputedStyle(document.querySelector('.tasks-live-dot')).backgroundColor"


def says(page: Any, text: str) -> None:
    page.wait_for_function(
        "text => document.getElementById('tasks-live-status').textContent.includes(text)", arg=text
    )


def style(page: Any, selector: str, name: str) -> str:
    return str(page.locator(selector).first.evaluate(f"each => getComputedStyle(each).{name}"))


def test_a_refresh_that_is_held_says_so(open_page: Any, site: Site) -> None:
    page = open_page()
    go(page, site, "job/")
    says(page, "Live")
    green = page.evaluate(GREEN)
    page.locator("#f-task").focus()
    says(page, "Paused while you type")
    assert page.evaluate(GREEN) != green
    page.locator("#f-task").blur()
    says(page, "Live")
    assert page.evaluate(GREEN) == green


def test_a_session_that_is_over_shows_no_green_sign(open_page: Any, site: Site) -> None:
    page = open_page()
    go(page, site, "job/dashboard/")
    says(page, "Live")
    green = page.evaluate(GREEN)
    page.context.clear_cookies()
    says(page, "logged out")
    assert page.evaluate(GREEN) != green
    assert not page.locator("#tasks-live-button").is_visible()


def test_rules_of_the_style_sheet_apply(open_page: Any, site: Site) -> None:
    site.shell(
        "from django.utils import timezone; from django_tasks_q.models import Job, Attempt\n"
        "job = Job.objects.create(task_name='shop.' + 'x' * 150, queue_name='default', backend='default',"
        " arguments='[[],{}]', status='FAILED', fence=1, attempts=1, enqueued_at=timezone.now(),"
        " finished_at=timezone.now())\n"
        "Attempt.objects.create(job=job, number=1, fence=1, outcome='failed', finished_at=timezone.now(),"
        " exception_class='builtins.ValueError', message='no')"
    )
    page = open_page()
    go(page, site, "job/failed/")
    address = page.locator(".tasks-group h2 a").get_attribute("href")
    page.goto(site.url.removesuffix("/admin") + address if address.startswith("/") else address)
    assert style(page, ".tasks-jobs td.tasks-error", "color") != style(page, ".tasks-jobs td", "color")
    # A long name takes no row of the filters for itself.
    assert page.locator("#f-task").bounding_box()["width"] <= 16 * 15 + 1
    go(page, site, "job/dashboard/")
    for selector in (".tasks-notice", ".tasks-healthy"):
        if page.locator(selector).count():
            assert style(page, selector, "paddingLeft") != "0px"
    go(page, site, "job/?status=nonsense")
    assert style(page, ".tasks-problem", "paddingLeft") != "0px"
