"""``manage.py tasks schedules`` and ``schedule``: what enqueues tasks at times."""

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

#: What can be done to a schedule.
VERBS = {
    "enable": "have it fire again",
    "disable": "have it fire no more until it is enabled",
    "run": "enqueue a job of it now",
    "skip": "leave its next time out",
}
TITLES = ("SCHEDULE", "STATE", "WHEN", "ZONE", "NEXT", "LAST", "TASK", "FROM")
COLUMNS = ("name", "state", "description", "timezone", "next_at", "last_at", "task", "origin")


def add_schedules(commands: Any) -> Iterator[ArgumentParser]:
    yield commands.add_parser("schedules", help="what enqueues tasks at times, and when it does so next")
    parser = commands.add_parser("schedule", help="enable, disable, run or skip one")
    told = "; ".join(f"{name}: {what}" for name, what in VERBS.items())
    parser.add_argument("deed", choices=list(VERBS), metavar="DEED", help=told)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--backend", type=filled, default=compat.DEFAULT_TASK_BACKEND_ALIAS, metavar="ALIAS")
    parser.add_argument("--reason", default="", help="for people to read")
    yield parser


def schedules(printer: Printer, options: dict[str, Any]) -> int:
    rows = Schedule.objects.using(database()).order_by("backend", "name")
    data = [scheduled(row) for row in rows]
    printer.table(TITLES, [[row[name] for name in COLUMNS] for row in data], data)
    return 0


def schedule(printer: Printer, options: dict[str, Any]) -> int:
    """Ends with 1 if nothing was done."""
    verb, name = options["deed"], options["name"]
    more: dict[str, Any] = {"reason": options["reason"], "backend": options["backend"]}
    if verb == "disable":
        more["by"] = f"{getpass.getuser()} (shell)"
    try:
        answer = getattr(actions, f"{verb}_schedule")(name, **more)
    except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
        raise CommandError(str(error)) from error
    if answer.reason is actions.Reason.GONE:
        raise CommandError(f"No schedule is named {name!r}.")
    printer.line(
        f"Schedule {name!r} {_told(verb, answer)}.",
        {
            "schedule": name,
            "verb": verb,
            "done": answer.done,
            "job": None if answer.job_id is None else str(answer.job_id),
            "skipped": answer.tick,
        },
    )
    return 0 if answer.done else 1


def _told(verb: str, answer: actions.ScheduleDone) -> str:
    match verb:
        case "run":
            return f"has a new job, {answer.job_id}"
        case "skip":
            return f"will leave {answer.tick} out" if answer.done else "has no next time"
    return f"is {verb}d" if answer.done else f"was {verb}d already"


SCHEDULES = {"schedules": schedules, "schedule": schedule}
