"""``python -m tests.variety.visit``: one project, set up as the environment says, visited at all its doors.

Writes a report as JSON: what is wrong, and what the REST API has answered.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.management import call_command

from .variants import VARIANTS, Variant


def main() -> None:
    variant = VARIANTS[os.environ["VARIANT"]]
    report: dict[str, Any] = {"problems": [], "answers": {}, "pages": 0, "pressed": {}}
    try:
        logging.disable()
        django.setup()
        _prepare(variant)
        _visit(variant, report)
    except BaseException:
        report["problems"].append(traceback.format_exc())
    Path(os.environ["REPORT"]).write_text(json.dumps(report))


def _prepare(variant: Variant) -> None:
    from django.db import connection

    if variant.is_migrated:
        if variant.name == "schema_by_search_path":
            with connection.cursor() as cursor:
                cursor.execute("CREATE SCHEMA tenant")
        for alias in settings.DATABASES:
            call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
    if settings.STORAGES["staticfiles"]["BACKEND"].endswith("ManifestStaticFilesStorage"):
        call_command("collectstatic", interactive=False, verbosity=0)


def _visit(variant: Variant, report: dict[str, Any]) -> None:
    from django.test import Client as Browser
    from django.test.utils import setup_test_environment

    from .rest import Client
    from .seeds import Seeds
    from .terminal import Terminal, lines

    setup_test_environment(debug=settings.DEBUG)
    problems: list[str] = report["problems"]
    errors = [error for error in checks.run_checks() if error.is_serious()]
    problems += [f"manage.py check: {error}" for error in errors]
    seeds = Seeds(datetime.fromisoformat(os.environ["NOW"]))
    seeds.make()
    browser = Browser(raise_request_exception=False)
    headers = {"HTTP_X_USER": "root"}
    if apps.is_installed("django.contrib.auth"):
        root = _root(seeds)
        if apps.is_installed("django.contrib.sessions"):
            browser.force_login(root)
    is_long = os.environ.get("VARIETY") == "long"
    strip = settings.FORCE_SCRIPT_NAME or ""
    doors = ("pages", "rest", "commands") if is_long else variant.doors
    for site in variant.sites if "pages" in doors else ():
        from .pages import Visitor

        visitor = Visitor(browser, site, strip, is_long=is_long)
        visitor.visit()
        problems += visitor.problems
        report["pages"] += len(visitor.pages)
        report["pressed"] |= visitor.pressed
    if "commands" in doors:
        terminal = Terminal()
        for line in lines(seeds, ("nightly", "hourly"), ("mails", "new")):
            terminal.run(*line)
        problems += terminal.problems
    if "rest" in doors:
        client = Client(browser, variant.api, seeds, strip, is_long=is_long, **headers)
        client.ask()
        problems += client.problems
        report["answers"] = client.answers


def _root(seeds: Any) -> Any:
    from django.contrib.auth import get_user_model

    people: Any = get_user_model()._default_manager
    if hasattr(people.model, "email") and people.model.USERNAME_FIELD == "email":
        return people.create_superuser("root")
    return people.create_superuser("root", "root@example.com")


if __name__ == "__main__":
    main()
