"""The page on the architecture is true: its files exist, and the ways through them were measured."""

import io
import json
import re
import sys
import time
import tokenize
from itertools import pairwise
from pathlib import Path

import pytest
from django.db import connections

import django_tasks_q
from django_tasks_q.models import Job, Worker

from .tasksapp import tasks
from .traced.apps import Trace

PACKAGE = Path(django_tasks_q.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"

once = pytest.mark.once

#: How many jobs are traced. What all of them run belongs to the way of a job. The rest came due by chance.
JOBS = 6
#: The number under which is recorded what runs in a worker that has nothing to do.
IDLE = 99
#: Rooms that a parameter of a task may be named in as often as they like.
DOORS = {"admin", "api", "demo", "management", "migrations"}
#: Files in which the word means the timeout of something else: of a wait, of a lock, of a database.
OTHER_TIMEOUTS = {
    "backends/testing.py",
    "definition/result.py",
    "dependencies/resolver.py",
    "events.py",
    "execution/runner.py",
    "lifecycle/outcome.py",
    "results/waiter.py",
    "storage/postgresql/notifications.py",
    "storage/sqlite.py",
    "tasks.py",
    "worker/subscribers/console.py",
    "worker/parts.py",
    "worker/shutdown.py",
    "worker/supervisor.py",
    "worker/system.py",
    "worker/wakeup.py",
}


def section(title: str) -> str:
    """The text under a heading of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert found, f"The page has no section {title!r}."
    return found[1]


def files_in(text: str) -> set[str]:
    return set(re.findall(r"`([\w/]+\.py)`", text))


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\*\*(\d+) files\*\*", text)]


@once
def test_the_files_that_the_page_names_exist():
    named = files_in(PAGE.read_text())
    assert named
    assert [name for name in sorted(named) if not (PACKAGE / name).is_file()] == []


@once
def test_the_page_has_every_room_once_in_the_order_of_the_layers():
    rows = re.findall(r"^\| (`.*?) \|", section("Rooms"), re.M)
    shown = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    layers = re.search(r"^layers = \[(.*?)^\]", (PACKAGE.parent / "pyproject.toml").read_text(), re.M | re.S)
    declared = [set(re.findall(r"\((\w+)\)", line)) for line in layers[1].splitlines()]
    order = {name: place for place, names in enumerate(declared) for name in names}
    rooms = order.keys() - {"__main__", "apps", "templatetags"}
    assert sorted(name for names in shown for name in names) == sorted(rooms)
    # Rooms of a row that is further down are nowhere above those of the rows before it.
    for above, below in pairwise(shown):
        assert max(order[name] for name in above) <= min(order[name] for name in below)


def record_as(number: int, switch: Path) -> None:
    """Have files recorded under a number, in all processes; under none if it is 0."""
    with switch.open("r+b") as file:  # which is mapped into their memory, and so keeps its size
        file.write(bytes([number]))


def is_complete(file: Path) -> bool:
    """Return whether nothing was added to a file for some rounds of the loop of a worker."""
    return file.exists() and time.time() - file.stat().st_mtime > 2


def test_a_job_takes_the_way_that_the_page_shows(project, tmp_path):
    folder = tmp_path / "trace"
    folder.mkdir()
    switch = folder / "on"
    switch.write_bytes(b"\0")
    project.env |= {"TRACE": str(folder), "EXTRA_APPS": json.dumps(["tests.traced"])}
    trace = Trace(folder)
    with project.worker("--processes", "1"):
        for number in range(JOBS + 1):  # the first is not traced: a child is started for it
            record_as(number, switch)
            sys.setprofile(trace)
            result = tasks.add.enqueue(1)
            sys.setprofile(None)
            project.wait_for(lambda id=result.id: Job.objects.get(id=id).is_finished)
            record_as(0, switch)
        record_as(IDLE, switch)
        # A busy machine may stop the worker for as long as that takes. Its heartbeat shows that it went on.
        before = Worker.objects.get().heartbeat_at
        project.wait_for(lambda: Worker.objects.get().heartbeat_at > before)
        project.wait_for(lambda: is_complete(folder / str(IDLE)))
        record_as(0, switch)
    idle = set((folder / str(IDLE)).read_text().split())
    runs = [set((folder / str(number)).read_text().split()) for number in range(1, JOBS + 1)]
    shown = section("The way of a job")
    needed, ran = set.intersection(*runs), set.union(*runs)
    own, all_together = numbers_in(shown)
    assert len(needed - idle) <= own, sorted(needed - idle)
    assert len(needed) <= all_together, sorted(needed)
    # Each database has its own files, and only for an exception there are rules.
    vendor = connections[project.alias].vendor
    others = re.compile(
        rf"lifecycle/retry|results/mapper|storage/(?!orm/|{vendor}|\w+\.py$)|storage/(?!{vendor})(sqlite|mysql)"
    )
    assert sorted(name for name in files_in(shown) - ran if not others.match(name)) == []


@once
def test_a_parameter_is_named_where_the_page_says():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE)
        if name.parts[0] not in DOORS and _names_timeout(path):
            found.add(str(name))
    shown = section("The way of a parameter")
    assert found - OTHER_TIMEOUTS == files_in(shown)
    assert [len(files_in(shown))] == numbers_in(shown)
    assert found >= OTHER_TIMEOUTS


def _names_timeout(path: Path) -> bool:
    return any(
        (token.type == tokenize.NAME and token.string == "timeout")
        or (token.type == tokenize.STRING and token.string.strip("\"'").lower() == "timeout")
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    )
