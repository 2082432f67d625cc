"""An old worker on the tables of today: what a rolling deployment has for a while.

The worker comes from a wheel, as it would from an index. Until there is a release to take, it is built from
this very code: that proves the way, not yet the promise.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_tasks_q.models import Job

from ..project import ROOT
from ..tasksapp import tasks

pytestmark = pytest.mark.any_version  # the worker of a release on the tables of another


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def releases(count=2):
    """The last released versions as git names them, newest first; this very code where there is none."""
    return git("tag", "--list", "v*", "--sort=-v:refname")[:count] or ["HEAD"]


def sources(release, folder):
    """The code of a release in a folder of its own."""
    if not release.startswith("v"):
        return ROOT
    archive = subprocess.run(["git", "archive", release], cwd=ROOT, capture_output=True, check=True)
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def install(release, folder):
    """Build and unpack the wheel of a release. Answers where it is to be imported from."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheels, target = folder / "wheels", folder / "installed"
    source = sources(release, folder / "source")
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, source], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", target, wheel], check=True)
    return target


@pytest.mark.parametrize("release", releases())
def test_an_old_worker_runs_the_jobs_of_today(project, tmp_path, release):
    installed = install(release, tmp_path / "release")
    add, failed = tasks.add.enqueue(1, 2), tasks.fail_thrice.enqueue()
    project.env["PYTHONPATH"] = os.pathsep.join([str(installed), str(ROOT)])

    def python(*arguments):
        # Not by way of manage.py, which puts the checkout first.
        run = {"env": project.env, "cwd": tmp_path, "capture_output": True, "text": True, "check": True}
        return subprocess.run([sys.executable, *arguments], **run).stdout

    found = python("-c", "import django_tasks_q; print(django_tasks_q.__file__)")
    assert Path(found.strip()).is_relative_to(installed)
    python("-m", "django", "runworker", "--batch", "--processes", "1")
    rows = {str(row.id): (row.status, row.attempts) for row in Job.objects.all()}
    assert rows == {add.id: ("SUCCESSFUL", 1), failed.id: ("FAILED", 3)}
