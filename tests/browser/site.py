"""A site in processes of its own: its server, its workers, and what is sent to them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..project import ROOT, Project, wait_for

USER, PASSWORD = "demo", "demo"
MANAGE = [sys.executable, "-m", "django"]

#: Enqueues jobs of all kinds. ``scale`` is how many orders there are.
FILL = """
from datetime import timedelta
from django.db import transaction
from tests.browser import tasks
with transaction.atomic():
    for order in range(1, {scale}):
        tasks.charge_card.enqueue(order, f"{{order * 3}}.90", card_token=f"tok_{{order:06}}_secret")
        tasks.send_receipt.enqueue(order, f"customer{{order}}@example.com")
        if order % 3 == 0:
            tasks.resize_image.enqueue(f"products/{{order}}.png", width=640)
    tasks.close_day.enqueue("2026-01-31")
    tasks.retry_supplier.enqueue("northwind")
    tasks.retry_supplier.enqueue("contoso")
"""
LATER = """
from datetime import timedelta
from django.db import transaction
from tests.browser import tasks
with transaction.atomic():
    for hour in range(1, 9):
        tasks.close_day.using(run_after=timedelta(hours=hour)).enqueue(f"2026-02-{hour:02}")
    tasks.import_catalogue.enqueue("northwind", rows=400, seconds=%(seconds)s)
    tasks.import_catalogue.enqueue("contoso", rows=250, seconds=%(seconds)s)
    tasks.wait_for.using(queue_name="archive").enqueue_many([(1.0,)] * 12)
    tasks.send_receipt.enqueue_many([(n * 9 + 1, "late@example.com") for n in range(30)])
"""


class Site(Project):
    """Django's own server and ``runworker``, on an SQLite file."""

    def __init__(
        self, directory: Path, language: str = "en", settings: str = "tests.browser.settings"
    ) -> None:
        super().__init__("site", f"sqlite:///{directory / 'site.sqlite3'}", directory)
        self.env |= {
            "DJANGO_SETTINGS_MODULE": settings,
            "SITE_LANGUAGE": language,
        }
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/admin"

    def manage(self, *arguments: str) -> str:
        return self.run(*arguments, timeout=120).stdout

    def shell(self, code: str) -> str:
        """Run some code in the project."""
        return self.script(code, timeout=120)

    def prepare(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.shell(
            "from django.contrib.auth.models import User\n"
            f"User.objects.create_superuser({USER!r}, '', {PASSWORD!r})"
        )

    @contextmanager
    def serving(self) -> Iterator[Site]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        log = self.directory / "server.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*MANAGE, "runserver", "--noreload", "--insecure", f"127.0.0.1:{self.port}"],
                env=self.env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(self._answers, 30)
            yield self
        finally:
            process.kill()
            process.wait()
            print(f"--- runserver\n{log.read_text()[-4000:]}")

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/login/", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def fill(self, scale: int = 120) -> None:
        """Jobs of all kinds, run by a worker to their ends."""
        self.shell(FILL.format(scale=scale))
        with self.worker("--processes", "4", "--batch") as worker:
            worker.process.wait(120)

    def unfinished(self) -> int:
        return int(
            self.shell("from django_tasks_q.models import Job; print(Job.objects.unfinished().count())")
        )


def settle(seconds: float) -> None:
    time.sleep(seconds)
