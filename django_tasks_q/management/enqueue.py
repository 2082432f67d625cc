"""``manage.py tasks enqueue``: enqueue a job of a task by its name, without a check of permissions."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from .. import compat
from ..definition.registry import registry
from ..definition.task import Task
from ..exceptions import TaskNotRegistered
from .arguments import filled
from .job_filters import when
from .output import Printer

UNUSABLE = (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask, compat.InvalidTaskBackend)


def add_enqueue(commands: Any) -> Iterator[ArgumentParser]:
    parser = commands.add_parser("enqueue", help="enqueue a job of a task and print its id")
    add = parser.add_argument
    add("name", metavar="NAME", help="name of the task, as in the output of tasks list")
    # Django uses "args" itself.
    add("--args", metavar="JSON", dest="positional", default="[]", help="arguments by position: '[7, \"a\"]'")
    add(
        "--kwargs",
        metavar="JSON",
        dest="keywords",
        default="{}",
        help='arguments by name: \'{"currency": "EUR"}\'',
    )
    add("--queue", type=filled, metavar="NAME", dest="queue_name")
    add("--priority", type=int, metavar="N", help="from -100 to 100")
    add(
        "--at",
        type=filled,
        metavar="TIME",
        dest="run_after",
        help="not before: 2026-01-31T08:00, or in 30m, 2h, 7d",
    )
    add(
        "--expires",
        type=filled,
        metavar="TIME",
        dest="expires_at",
        help="not after: 2026-01-31T08:00, or in 30m, 2h, 7d",
    )
    add("--max-attempts", type=int, metavar="N", help="number of attempts, with the first")
    add("--timeout", type=float, metavar="SECONDS", help="timeout of each attempt")
    add("--memory", metavar="SIZE", help="bytes that each attempt may use, such as 512M")
    add(
        "--tag",
        metavar="TAG",
        action="append",
        dest="tags",
        help="tag to add to those of the task; may be repeated",
    )
    add("--metadata", metavar="JSON", help="object to merge into the metadata of the task")
    add("--backend", type=filled, metavar="ALIAS", help="alias in TASKS (default: that of the task)")
    yield parser


def enqueue(printer: Printer, options: dict[str, Any]) -> int:
    try:
        task = _with_options(registry.get(options["name"]), options)
        args = _json(options["positional"], "--args", list)
        kwargs = _json(options["keywords"], "--kwargs", dict)
        task.check_arguments(args, kwargs)
        # From the stored form to the values that enqueue() takes.
        args, kwargs = task.decoded(args, kwargs)
        id = task.enqueue(*args, **kwargs).id
    except UNUSABLE as error:
        raise CommandError(str(error)) from error
    printer.line(id, {"id": id, "task": task.name})
    return 0


def _with_options(task: Task[..., Any], options: dict[str, Any]) -> Task[..., Any]:
    names = ("queue_name", "priority", "max_attempts", "timeout", "memory", "tags", "backend")
    given = {name: options[name] for name in names if options[name] is not None}
    given |= {name: when(options[name]) for name in ("run_after", "expires_at") if options[name]}
    if options["metadata"] is not None:
        given["metadata"] = _json(options["metadata"], "--metadata", dict)
    return task.using(**given) if given else task


def _json(text: str, flag: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        what = "a list, such as '[7]'" if kind is list else "an object, such as '{\"name\": 7}'"
        raise CommandError(f"{flag} takes JSON, {what}, not {text!r:.100}.")
    return value


ENQUEUE = {"enqueue": enqueue}
