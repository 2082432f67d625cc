"""A project without the extra of the API has one that works, with less."""

import subprocess
import sys

from django_tasks_q.checks import check_api

from .project import ROOT

WITHOUT = """
import sys

sys.modules["django_filters"] = sys.modules["drf_spectacular"] = None
import os
import django
from django.core import checks

django.setup()
from django.test.utils import setup_test_environment
from django.urls import resolve, reverse

import testproject.urls
from django_tasks_q.api import filters, openapi, verbs

print(filters.FILTERS, openapi.HAS_SCHEMA, [m.id for m in checks.run_checks(tags=["tasks"])])
for message in checks.run_checks(tags=["tasks"]):
    print(message.msg)
view = resolve("/api/tasks/v1/jobs/").func.cls
print(view.filter_backends, view.schema)
try:
    resolve("/api/tasks/v1/schema/")
except Exception as error:
    print(type(error).__name__)
"""


def test_without_the_extra_one_sentence_says_so_and_the_rest_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "testproject.settings", "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, sentence, view, missing = done.stdout.splitlines()[:4]
    assert first == "() False ['django_tasks_q.W004']"
    assert "django-filter and drf-spectacular cannot be imported" in sentence
    assert view == "() None"
    assert missing == "Resolver404"


def test_with_the_extra_there_is_nothing_to_say() -> None:
    assert check_api(None) == []
