"""The pictures of the documentation: ``python -m tests.browser.screenshots [folder] [--all]``.

Fills a site by running jobs, and opens every screen. With ``--all`` also in the dark and on a phone, with
``--unfold`` under django-unfold.
"""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import PIL.Image
from playwright.sync_api import Page, sync_playwright

from ..project import ROOT
from .chromium import CHROMIUM
from .conftest import follow
from .site import LATER, PASSWORD, USER, Site, settle

FOLDER = ROOT / "docs" / "_static" / "admin"
SERVED = ("payments", "emails", "images", "imports", "default", "reports")
#: Names of the pictures, and the pages; None for one that has to be looked for.
SCREENS = {
    "dashboard": "job/dashboard/",
    "jobs": "job/",
    "failed": "job/failed/",
    "queues": "queue/",
    "workers": "worker/",
    "tasks": "job/tasks/",
    "enqueue": "job/enqueue/?task=shop.refund",
    "schedules": "schedule/",
    "job-failed": None,
    "job-running": None,
    "confirm": None,
}
#: The outcomes are of jobs that ran, at the times that a schedule would have had them at.
SCHEDULES = """
from datetime import timedelta
from django.utils import timezone
from django_tasks_q import actions
from django_tasks_q.models import Firing, Job, Schedule
for name, cron, zone in (
    ("close the day", "0 3 * * *", "Europe/Berlin"),
    ("close the month", "0 4 1 * *", "Europe/Berlin"),
    ("remind of carts", "*/15 * * * *", "UTC"),
):
    actions.save_schedule(name, "shop.close_day", args=["2026-01-31"], cron=cron, timezone=zone)
actions.disable_schedule("close the month", by="anna", reason="the books are open")
now = timezone.now()
for name, hours in (("close the day", 24), ("remind of carts", 0.25)):
    schedule = Schedule.objects.get(name=name)
    for number in range(8):
        tick = now - timedelta(hours=hours * (8 - number))
        firing = Firing(schedule=schedule, tick=tick, fired_at=tick, outcome="fired")
        if hours < 1 and number in (2, 3):
            firing.outcome = "missed" if number == 2 else "overlap"
        else:
            status = "FAILED" if number == 5 else "SUCCESSFUL"
            firing.job_id = Job.objects.filter(status=status)[number].pk
        firing.save()
"""
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


def visit(page: Page, site: Site, name: str) -> None:
    path = SCREENS[name]
    base = f"{site.url}/django_tasks_q"
    if path is not None:
        page.goto(f"{base}/{path}")
    elif name == "job-running":
        page.goto(f"{base}/job/?status=running&task=shop.import_catalogue")
        follow(page, page.locator(".tasks-jobs a.tasks-name").first)
    elif name == "job-failed":
        page.goto(f"{base}/job/?status=failed&task=shop.send_receipt")
        follow(page, page.locator(".tasks-jobs a.tasks-name").first)
    else:
        page.goto(f"{base}/job/?status=failed&task=shop.charge_card")
        follow(page, page.get_by_role("button", name="Retry: all jobs that match the filters"))
    page.wait_for_load_state("networkidle")


def shoot(page: Page, path: Path, full: bool = False) -> None:
    """A picture of few colours, which is a third of the size."""
    page.screenshot(path=path, full_page=full)
    with PIL.Image.open(path) as picture:
        small = picture.convert("RGB").quantize(64, dither=PIL.Image.Dither.NONE)
    small.save(path, optimize=True)


def log_in(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/login/")
    page.fill("#id_username", USER)
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")


def pictures(site: Site, folder: Path, everything: bool) -> None:
    kinds = [("wide", "light")]
    if everything:
        kinds = [(size, scheme) for size in SIZES for scheme in ("light", "dark")]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for size, scheme in kinds:
            width, height = SIZES[size]
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
            )
            page = context.new_page()
            log_in(page, site)
            for name in SCREENS:
                visit(page, site, name)
                suffix = f"-{size}-{scheme}" if everything else ""
                full = everything and name != "tasks"
                shoot(page, folder / f"{name}{suffix}.png", full)
                wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                if wider > 0:
                    sys.stderr.write(f"{name} {size}: {wider} pixels too wide\n")
            if not everything:
                page.emulate_media(color_scheme="dark")
                visit(page, site, "dashboard")
                shoot(page, folder / "dashboard-dark.png")
            context.close()
        browser.close()


def main(arguments: list[str]) -> None:
    everything = "--all" in arguments
    folder = Path(next((each for each in arguments if not each.startswith("-")), FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(io.StringIO()):
        settings = "tests.themed.settings" if "--unfold" in arguments else "tests.browser.settings"
        site = Site(Path(directory), settings=settings)
        site.prepare()
        site.fill()
        queues = [word for queue in SERVED for word in ("--queue", queue)]
        worker = site.worker("--processes", "3", "--worker-name", "shop-worker-1", *queues)
        with worker, site.serving():
            site.shell(LATER % {"seconds": 600})
            site.shell(
                "from django_tasks_q import actions\n"
                "actions.pause('reports', by='anna', reason='month-end closing')"
            )
            site.shell(SCHEDULES)
            settle(12)  # for heartbeats, progress and statistics
            pictures(site, folder, everything)


if __name__ == "__main__":
    main(sys.argv[1:])
