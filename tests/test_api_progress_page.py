"""The shop's page with a live progress bar, in a real browser, with a real worker."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import Client

from django_tasks_q.models import Job
from testproject.shop.models import Product

from .api_support import make_user
from .browser.chromium import CHROMIUM, needs_chromium
from .project import Project

pytestmark = [
    pytest.mark.once,  # a browser, as in tests/browser
    needs_chromium,
    pytest.mark.parametrize(
        "storage_alias",
        [pytest.param("postgres", marks=pytest.mark.django_db(transaction=True, databases=["postgres"]))],
        indirect=True,
    ),
]


def browse(url: str, session: str, cancels: bool) -> dict[str, Any]:
    """Start the job on the page, watch the bar, and return what was seen."""
    from playwright.sync_api import sync_playwright

    seen: list[float] = []
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        page = context.new_page()
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if message.type == "error" and "favicon" not in message.location["url"]
                else None
            ),
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}/prices/")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Cancel").wait_for()
        for _ in range(600):
            # Both at once: the last of the one and the end come together.
            value, state = page.evaluate("[bar.value, document.getElementById('state').textContent]")
            if not seen or seen[-1] != value:
                seen.append(value)
            if cancels and value > 0:
                page.get_by_role("button", name="Cancel").click()
                cancels = False
            if state in ("SUCCESSFUL", "CANCELLED", "FAILED"):
                break
            page.wait_for_timeout(50)
        browser.close()
    return {"state": state, "values": seen, "problems": problems}


def watched(project: Project, live_server: Any, count: int, cancels: bool = False) -> dict[str, Any]:
    Product.objects.bulk_create(Product(name=f"{number}", price=100) for number in range(count))
    client = Client()
    client.force_login(make_user("view_job", "view_payload_job", "add_job", "cancel_job"))
    session = client.cookies["sessionid"].value
    with project.worker("--queue", "prices"), ThreadPoolExecutor(1) as thread:
        # In another thread: a browser brings an event loop, in which Django asks no database.
        return thread.submit(browse, live_server.url, session, cancels).result(90)


def test_the_bar_moves_until_the_job_has_ended(project: Project, live_server: Any) -> None:
    seen = watched(project, live_server, 100)
    assert seen["problems"] == []
    assert seen["state"] == "SUCCESSFUL"
    assert seen["values"] == sorted(seen["values"])
    assert len(seen["values"]) > 2
    assert seen["values"][-1] == 1
    assert Job.objects.get().kwargs == {"percent": 5}
    assert set(Product.objects.values_list("price", flat=True)) == {105}


def test_a_click_cancels_the_job(project: Project, live_server: Any) -> None:
    seen = watched(project, live_server, 1000, cancels=True)
    assert seen["problems"] == []
    assert seen["state"] == "CANCELLED"
