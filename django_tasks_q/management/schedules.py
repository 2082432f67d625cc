"""``manage.py tasks schedules`` and ``manage.py tasks schedule``."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from .. import actions, compat
from ..access import database
from ..exceptions import TaskNotRegistered
from ..models import Schedule
from ..monitoring.descriptions import scheduled
from .arguments import filled
from .output import Printer

#: The actions on a schedule, with their help texts.
VERBS = {
    "enable": "let it fire again",
    "disable": "stop it from firing until it is enabled",
    "run": "enqueue its job now",
    "skip": "leave out its next time",
}
TITLES = ("SCHEDULE", "STATE", "WHEN", "ZONE", "NEXT", "LAST", "TASK", "FROM")
COLUMNS = ("name", "state", "description", "timezone", "next_at", "last_at", "task", "origin")


def add_schedules(commands: Any) -> Iterator[ArgumentParser]:
    yield commands.add_parser("schedules", help="the schedules, with their states and times")
    parser = commands.add_parser("schedule", help="enable, disable, run or skip a schedule")
    text = "; ".join(f"{name}: {what}" for name, what in VERBS.items())
    parser.add_argument("action", choices=list(VERBS), metavar="ACTION", help=text)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--backend", type=filled, default=compat.DEFAULT_TASK_BACKEND_ALIAS, metavar="ALIAS")
    parser.add_argument("--reason", default="", help="why, for people to read")
    yield parser


def schedules(printer: Printer, options: dict[str, Any]) -> int:
    rows = Schedule.objects.using(database()).order_by("backend", "name")
    data = [scheduled(row) for row in rows]
    printer.table(TITLES, [[row[name] for name in COLUMNS] for row in data], data)
    return 0


def schedule(printer: Printer, options: dict[str, Any]) -> int:
    """Return 0, or 1 if nothing was done."""
    verb, name = options["action"], options["name"]
    more: dict[str, Any] = {"reason": options["reason"], "backend": options["backend"]}
    if verb == "disable":
        more["by"] = f"{getpass.getuser()} (shell)"
    try:
        done = getattr(actions, f"{verb}_schedule")(name, **more)
    except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
        raise CommandError(str(error)) from error
    if done.reason is actions.Reason.GONE:
        raise CommandError(f"No schedule is named {name!r}.")
    printer.line(
        f"Schedule {name!r} {_text(verb, done)}.",
        {
            "schedule": name,
            "verb": verb,
            "done": done.done,
            "job": None if done.job_id is None else str(done.job_id),
            "skipped": done.tick,
        },
    )
    return 0 if done.done else 1


def _text(verb: str, done: actions.ScheduleDone) -> str:
    match verb:
        case "run":
            return f"has a new job, {done.job_id}"
        case "skip":
            return f"will leave {done.tick} out" if done.done else "has no next time"
    return f"is {verb}d" if done.done else f"was {verb}d already"


SCHEDULES = {"schedules": schedules, "schedule": schedule}
