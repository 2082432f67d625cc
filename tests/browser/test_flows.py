"""What an operator does, in a real browser, with and without JavaScript, while a worker runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ..project import wait_for
from .conftest import follow, log_in
from .policy import POLICY
from .site import Site

WORKER = ("--processes", "2", "--worker-name", "worker-1")
SCREENS = ("job/dashboard/", "job/", "job/failed/", "job/tasks/", "queue/", "worker/")


def go(page: Any, site: Site, path: str) -> None:
    page.goto(f"{site.url}/django_tasks_q/{path}")


def until(page: Any, text: str, seconds: int = 20, within: str = "#content-main") -> None:
    """Reload until the page says so: that needs no JavaScript."""

    def said() -> bool:
        page.reload(wait_until="domcontentloaded")
        return text in " ".join(page.locator(within).all_inner_texts())

    wait_for(said, seconds)


def message(page: Any) -> str:
    return str(page.locator(".messagelist").inner_text())


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def page(request: pytest.FixtureRequest, open_page: Any) -> Any:
    return open_page(script=request.param)


def test_failed_job_is_found_retried_and_succeeds(page: Any, site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "mended"
    site.shell(f"from tests.browser.tasks import *; fail_unless.enqueue({str(mark)!r}); wait_for.enqueue(0)")
    with site.worker(*WORKER):
        wait_for(lambda: site.unfinished() == 0)
        go(page, site, "job/")
        follow(page, page.get_by_role("link", name=re.compile("Failed 1")))
        page.select_option("#f-task", "shop.fail_unless")
        follow(page, page.get_by_role("button", name="Filter", exact=True))
        assert page.locator(".tasks-jobs tbody tr").count() == 1
        assert "FileNotFoundError" in page.locator(".tasks-jobs").inner_text()
        follow(page, page.get_by_role("link", name="shop.fail_unless"))
        page.get_by_text("Traceback", exact=True).click()
        assert "Traceback (most recent call last)" in page.locator("details[open] pre").inner_text()
        mark.touch()
        follow(page, page.get_by_role("button", name="Retry", exact=True))
        assert "Retry 1 job?" in page.locator(".tasks-question").inner_text()
        page.get_by_label("Reason").fill("the file is there now")
        follow(page, page.get_by_role("button", name="Retry", exact=True))
        assert "Retry: 1 done" in message(page)
        until(page, "Successful")
        assert '"mended"' in page.locator("#content-main").inner_text()
        assert "the file is there now" in page.locator("#content-main").inner_text()


def test_paused_queue_waits_until_it_is_resumed(page: Any, site: Site) -> None:
    with site.worker(*WORKER) as worker:
        wait_for(lambda: "Stop with Ctrl-C" in worker.output)
        go(page, site, "queue/")
        follow(page, page.get_by_role("button", name="Pause default"))
        page.get_by_label("Reason").fill("month-end")
        follow(page, page.get_by_role("button", name="Pause", exact=True))
        assert "is paused" in message(page)
        assert "by demo" in page.locator("#content-main").inner_text()
        assert "month-end" in page.locator("#content-main").inner_text()
        # A worker without hints looks what is wanted of it every ten seconds.
        wait_for(lambda: "pause" in worker.output.lower() or site_seen_pause(site), 25)
        site.shell("from tests.browser.tasks import *; wait_for.enqueue(0)")
        page.wait_for_timeout(1500)
        assert site.unfinished() == 1
        follow(page, page.get_by_role("button", name="Resume default"))
        assert "is resumed" in message(page)
        wait_for(lambda: site.unfinished() == 0, 25)


def site_seen_pause(site: Site) -> bool:
    """Whether a worker has renewed its lease since the pause, and so knows of it."""
    code = (
        "from django_tasks_q.models import Queue, Worker; from datetime import timedelta\n"
        "since = Queue.objects.get().paused_at + timedelta(seconds=11)\n"
        "from django.utils import timezone; print(int(timezone.now() > since))"
    )
    return site.shell(code) == "1"


def test_running_job_is_cancelled(page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; import_catalogue.enqueue('northwind', seconds=300)")
    with site.worker(*WORKER):
        go(page, site, "job/?status=running")
        until(page, "shop.import_catalogue", within=".tasks-jobs")
        follow(page, page.get_by_role("link", name="shop.import_catalogue"))
        until(page, "row ")
        follow(page, page.get_by_role("button", name="Cancel", exact=True))
        page.get_by_label("Reason").fill("wrong supplier")
        follow(page, page.get_by_role("button", name="Cancel", exact=True))
        assert "1 asked to end" in message(page)
        until(page, "Cancelled", 30)
        assert "wrong supplier" in page.locator("#content-main").inner_text()


def test_all_matching_are_retried(page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; [fail_unless.enqueue('/nonexistent') for _ in range(7)]")
    site.shell("from tests.browser.tasks import *; retry_supplier.using(max_attempts=1).enqueue('x')")
    with site.worker(*WORKER, "--batch") as worker:
        worker.process.wait(60)
    go(page, site, "job/?status=failed&task=shop.fail_unless")
    follow(page, page.get_by_role("button", name="Retry: all jobs that match the filters"))
    assert "Retry 7 jobs?" in page.locator(".tasks-question").inner_text()
    follow(page, page.get_by_role("button", name="Retry", exact=True))
    assert "Retry: 7 done" in message(page)
    go(page, site, "job/failed/")
    assert page.locator(".tasks-group").count() == 1
    assert "shop.retry_supplier" in page.locator(".tasks-group").inner_text()
    follow(page, page.get_by_role("button", name="Dismiss failures of shop.retry_supplier"))
    follow(page, page.get_by_role("button", name="Dismiss", exact=True))
    assert "Dismiss: 1 done" in message(page)
    assert "There are no open failures" in page.locator("#content-main").inner_text()


def test_chosen_jobs_are_discarded(page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; wait_for.enqueue_many([(1.0,)] * 5)")
    go(page, site, "job/?status=ready")
    boxes = page.locator(".tasks-jobs input[type=checkbox]")
    boxes.nth(0).check()
    boxes.nth(3).check()
    follow(page, page.get_by_role("button", name="Discard", exact=True))
    assert "Discard 2 jobs?" in page.locator(".tasks-question").inner_text()
    follow(page, page.get_by_role("link", name="No, go back"))
    assert page.locator(".tasks-jobs tbody tr").count() == 5
    boxes.nth(0).check()
    follow(page, page.get_by_role("button", name="Discard", exact=True))
    follow(page, page.get_by_role("button", name="Discard", exact=True))
    assert "Discard: 1 done" in message(page)
    assert page.locator(".tasks-jobs tbody tr").count() == 4


def test_worker_is_asked_to_stop(page: Any, site: Site) -> None:
    with site.worker(*WORKER) as worker:
        wait_for(lambda: "Stop with Ctrl-C" in worker.output)
        go(page, site, "worker/")
        until(page, "worker-1")
        follow(page, page.get_by_role("button", name="Stop worker-1"))
        follow(page, page.get_by_role("button", name="Stop", exact=True))
        assert "Stop: 1 done" in message(page)
        assert worker.process.wait(40) == 0
        until(page, "Stopped")


def test_new_job_from_an_old_one(page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; wait_for.enqueue(600)")
    go(page, site, "job/")
    follow(page, page.get_by_role("link", name="shop.wait_for"))
    follow(page, page.get_by_role("link", name="New job from this one"))
    page.get_by_label("Positional arguments").fill("[0.5")
    follow(page, page.get_by_role("button", name="Enqueue"))
    assert "valid JSON" in page.locator("#content-main").inner_text()
    page.get_by_label("Positional arguments").fill("[0.5]")
    follow(page, page.get_by_role("button", name="Enqueue"))
    assert "A new job was enqueued" in message(page)
    assert "0.5" in page.locator("#content-main").inner_text()


def test_task_is_enqueued_by_its_form(page: Any, site: Site) -> None:
    with site.worker(*WORKER):
        go(page, site, "job/tasks/")
        follow(page, page.get_by_role("link", name="Enqueue shop.refund"))
        page.locator("#id_argument-order").fill("7")
        page.locator("#id_argument-reason").select_option(label="late")
        page.locator("#id_argument-on").fill("2026-02-03")
        page.locator("#id_argument-lines").fill('["x"]')
        page.locator("#id_argument-card_token").fill("tok_canary")
        page.locator("#id_argument-notify").uncheck()
        follow(page, page.get_by_role("button", name="Enqueue"))
        # Each error stands beside its field, which names it for who cannot see that.
        lines = page.locator("#id_argument-lines")
        assert lines.get_attribute("aria-invalid") == "true"
        told = page.locator(f"#{lines.get_attribute('aria-describedby').split()[-1]}")
        assert "Must be of type list[int]" in told.inner_text()
        assert page.locator("#id_argument-on").input_value() == "2026-02-03"
        assert not page.locator("#id_argument-notify").is_checked()
        assert "tok_canary" not in page.content()
        lines.fill("[1, 2]")
        page.locator("#id_argument-card_token").fill("tok_canary")
        follow(page, page.get_by_role("button", name="Enqueue"))
        assert "A new job was enqueued" in message(page)
        until(page, "refunded 10.00 of order 7: late")
        shown = page.locator("#content-main").inner_text()
        assert "********" in shown
        assert "tok_canary" not in page.content()
        assert "demo Enqueue" in shown.partition("History of actions")[2]


def test_texts_are_copied(open_page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; fail_unless.enqueue('/nonexistent')")
    with site.worker(*WORKER, "--batch") as worker:
        worker.process.wait(60)
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    go(page, site, "job/")
    follow(page, page.get_by_role("link", name="shop.fail_unless"))

    def copied(name: str) -> str:
        page.get_by_role("button", name=f"Copy: {name}").click()
        status = page.locator("#tasks-copy-status")
        wait_for(lambda: name in status.inner_text(), 5)
        return str(page.evaluate("navigator.clipboard.readText()"))

    assert copied("Id of the job") == page.url.rstrip("/").split("/")[-2]
    assert copied("Positional arguments") == '[\n  "/nonexistent"\n]'
    assert page.get_by_role("button", name="Copy: Traceback of attempt 1").count() == 0
    page.get_by_text("Traceback", exact=True).click()
    assert "FileNotFoundError" in copied("Traceback of attempt 1")
    # By keyboard, and again after the page has been refreshed under it.
    page.evaluate("navigator.clipboard.writeText('')")
    tab_to(page, "Copy: Keyword arguments", "button")
    page.keyboard.press("Enter")
    wait_for(lambda: page.evaluate("navigator.clipboard.readText()") == "{}", 5)


def test_copy_buttons_outlive_a_refresh(open_page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; wait_for.enqueue(600)")
    page = open_page()
    go(page, site, "job/")
    follow(page, page.get_by_role("link", name="shop.wait_for"))
    tab_to(page, "Copy: Positional arguments", "button")
    page.locator("#tasks-live[data-refreshed]").wait_for(timeout=9000)
    assert page.evaluate("document.activeElement.ariaLabel") == "Copy: Positional arguments"
    assert page.get_by_role("button", name="Copy: Id of the job").count() == 1


def test_no_copy_button_where_there_is_no_clipboard(open_page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; wait_for.enqueue(600)")
    for script in (True, False):
        page = open_page(script=script)
        if script:
            page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        go(page, site, "job/")
        follow(page, page.get_by_role("link", name="shop.wait_for"))
        assert page.get_by_role("button", name=re.compile("Copy")).count() == 0


def test_live_refresh_and_its_pause(open_page: Any, site: Site) -> None:
    page = open_page()
    go(page, site, "job/")
    assert "No job" in page.locator("#tasks-live").inner_text()
    site.shell("from tests.browser.tasks import *; wait_for.enqueue(600)")
    page.get_by_role("link", name="shop.wait_for").wait_for(timeout=9000)
    page.get_by_label("Select shop.wait_for").check()
    button = page.locator("#tasks-live-button")
    button.click()
    assert button.inner_text() == "Resume"
    assert page.locator("#tasks-live-status").inner_text() == "Paused"
    site.shell("from tests.browser.tasks import *; close_day.enqueue('x')")
    page.wait_for_timeout(6500)
    assert page.get_by_role("link", name="shop.close_day").count() == 0
    button.click()
    page.get_by_role("link", name="shop.close_day").wait_for(timeout=9000)
    # What was chosen before is chosen still.
    assert page.get_by_label("Select shop.wait_for").is_checked()


def test_hidden_page_is_not_refreshed(open_page: Any, site: Site) -> None:
    page = open_page()
    go(page, site, "job/dashboard/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => window.isHidden});"
        "window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_timeout(6500)
    assert asked == []
    page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(lambda: page.wait_for_timeout(50) or asked, 5)


def test_slow_server_is_asked_less_often(open_page: Any, site: Site) -> None:
    page = open_page()
    go(page, site, "job/dashboard/")
    times: list[float] = []

    def slow(route: Any) -> None:
        times.append(page.evaluate("performance.now()"))
        page.wait_for_timeout(1500)
        route.fulfill(status=200, body="<p>slow</p>")

    page.route("**/dashboard/", slow)
    page.wait_for_timeout(13_000)
    assert len(times) == 1
    assert "less often" in page.locator("#tasks-live-status").inner_text()


def test_nothing_breaks_the_policy(open_page: Any, site: Site) -> None:
    site.fill(12)
    page = open_page()
    policies: set[str] = set()
    page.on("response", lambda response: policies.add(response.headers.get("content-security-policy", "")))
    page.add_init_script(
        "window.broken = []; document.addEventListener('securitypolicyviolation',"
        " (event) => window.broken.push(event.violatedDirective + ' ' + event.blockedURI))"
    )
    for path in (*SCREENS, "", "job/enqueue/?task=shop.refund", "job/?status=failed"):
        go(page, site, path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.broken") == [], path
    follow(page, page.locator(".tasks-jobs a.tasks-name").first)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.broken") == []
    follow(page, page.get_by_role("button", name="Retry", exact=True))
    assert page.evaluate("window.broken") == []
    assert POLICY in policies


def test_no_screen_is_wider_than_the_window(open_page: Any, site: Site) -> None:
    site.fill(12)
    page = open_page()
    #: Parts of a page that would have to be scrolled sideways to be read.
    cut_off = (
        "[...document.querySelectorAll('.tasks-scroll, .tasks-table, .tasks-facts, .tasks-field')]"
        ".filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.className)"
    )
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        for path in (*SCREENS, "job/?status=failed", "job/enqueue/?task=shop.refund"):
            go(page, site, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            assert width == 1280 or page.evaluate(cut_off) == [], (path, width)
        go(page, site, "job/?status=failed")
        follow(page, page.locator(".tasks-jobs a.tasks-name").first)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_lists_are_cards_with_labels_on_a_phone(open_page: Any, site: Site) -> None:
    site.fill(12)
    page = open_page(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    for path, labels in (
        ("job/", {"Queue", "Attempts", "Enqueued", "Time"}),
        ("queue/", {"Ready", "Oldest", "Scheduled", "In use", "Limit", "Started and ended"}),
        ("worker/", {"Host", "Process", "Queues", "Jobs", "Heartbeat", "Memory", "Started", "Version"}),
        (
            "job/dashboard/",
            {"Ready", "Oldest", "Scheduled", "In use", "Ended", "Runs", "Failed", "p50", "p95"},
        ),
    ):
        go(page, site, path)
        assert not page.locator(".tasks-table thead").first.is_visible()
        shown = page.evaluate(
            "[...document.querySelectorAll('.tasks-table td[data-label]')]"
            ".filter((each) => each.checkVisibility())"
            ".filter((each) => getComputedStyle(each, '::before').content !== 'none')"
            ".map((each) => each.dataset.label)"
        )
        assert set(shown) >= labels, path


def test_everything_by_keyboard(open_page: Any, site: Site) -> None:
    site.shell("from tests.browser.tasks import *; fail_unless.enqueue('/nonexistent')")
    with site.worker(*WORKER, "--batch") as worker:
        worker.process.wait(60)
    page = open_page()
    go(page, site, "job/dashboard/")
    tab_to(page, "Failed", "a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/failed/")
    tab_to(page, "Retry failures of shop.fail_unless", "button")
    page.keyboard.press("Enter")
    page.locator(".tasks-question").wait_for()
    tab_to(page, "Retry", "button")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.locator(".messagelist").wait_for()
    assert "Retry: 1 done" in message(page)


def tab_to(page: Any, name: str, tag: str) -> None:
    """Press Tab until the element of that name has the focus."""
    script = (
        "(({tagName, ariaLabel, innerText}) => [tagName, ariaLabel || innerText])(document.activeElement)"
    )
    for _ in range(80):
        page.keyboard.press("Tab")
        found, text = page.evaluate(script)
        if found.lower() == tag and (text or "").strip() == name and in_main(page):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


def in_main(page: Any) -> bool:
    return bool(page.evaluate("document.activeElement.closest('#content-main') !== null"))


def test_hostile_text_opens_no_dialog(open_page: Any, site: Site) -> None:
    site.shell(
        "import django.test.utils\nfrom tests.admin_support import *\nmake_everything(HOSTILE)\n"
        "from django_tasks_q.models import Job\nprint(Job.objects.filter(status='FAILED').get().pk)"
    )
    page = open_page()
    for path in (*SCREENS, "job/?status=failed"):
        go(page, site, path)
        page.wait_for_load_state("networkidle")
    follow(page, page.locator(".tasks-jobs a.tasks-name").first)
    assert "<script>alert(1)</script>" in page.locator("#content-main").inner_text()


def test_log_in_is_asked_for(open_page: Any, site: Site) -> None:
    page = open_page(login=False)
    go(page, site, "job/dashboard/")
    assert "/login/" in page.url
    log_in(page)
    page.wait_for_url("**/dashboard/")
    assert "Dashboard" in page.locator("h1").all_inner_texts()
