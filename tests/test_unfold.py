"""The screens with django-unfold: with Django's ModelAdmin, and with that of the theme."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .project import ROOT

pytest.importorskip("unfold")

#: Requests every screen and prints the responses. With an argument it uses Django's ModelAdmin.
LOOK = """
import json, sys
import django
from django.conf import settings
if sys.argv[1:]:
    settings.INSTALLED_APPS.remove("tests.themed")
django.setup()
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_tasks_q.models import Job
from tests import admin_support as support
import tests.browser.tasks
call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("root"))
job, worker = support.make_failed(task_name="shop.refund", arguments='[["needle"],{}]'), support.make_worker()
urls = [*support.SCREENS, support.page(job), support.page(worker), support.BASE,
        f"{support.JOBS}{job.pk}/again/", f"{support.JOBS}enqueue/?task=shop.refund"]
found = {"base": [kind.__module__ for kind in type(admin.site._registry[Job]).__mro__]}
for url in urls:
    response = client.get(url)
    found[url] = [response.status_code, response.content.decode()]
posts = [
    (f"{support.JOBS}actions/retry/", {"ids": str(job.pk)}),
    (f"{support.QUEUES}actions/pause/", {"backend": "default", "queue": "default"}),
    (f"{support.WORKERS}{worker.pk}/stop/", {}),
    (support.page(job), {support.ACTION: "retry", "_selected_action": str(job.pk)}),
]
for url, data in posts:
    response = client.post(url, data)
    found["POST " + url] = [response.status_code, response.content.decode()]
print(json.dumps(found))
"""


def run_in_project(directory: Path, *arguments: str) -> dict[str, Any]:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.themed.settings",
        "DATABASE_URL": f"sqlite:///{directory / 'themed.sqlite3'}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("arguments", [(), ("plain",)], ids=["its admin class", "django's admin class"])
def test_every_screen_works_in_the_theme(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    found = run_in_project(tmp_path, *arguments)
    assert any(module.startswith("unfold") for module in found.pop("base")) is not bool(arguments)
    for url, (status, content) in found.items():
        if url.startswith("POST") and url.endswith("/change/") and status == 405:
            continue  # before Django 6.1 the buttons go elsewhere
        assert status == 200, url
        assert "unfold/css/styles.css" in content, url
        assert "django_tasks_q/admin.css" in content, url
        assert 'class="tasks-nav"' in content, url
    shown = {url.rstrip("/").rpartition("django_tasks_q/")[2]: content for url, (_, content) in found.items()}
    for url, part in (
        ("job/dashboard", "Failed in 24 h"),
        ("job", "needle"),
        ("job/failed", "builtins.ValueError"),
        ("job/tasks", "Enqueue shop.refund"),
        ("queue", "Pause default"),
        ("worker", "web-1.example"),
        ("job/enqueue/?task=shop.refund", 'name="argument-order"'),
        ("job/actions/retry", "Retry 1 job?"),
        ("queue/actions/pause", "Until"),
    ):
        assert part in shown[url], url
