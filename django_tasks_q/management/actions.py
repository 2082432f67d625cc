"""The verbs of ``manage.py tasks`` that change something, by functions of ``actions``."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from .. import actions, compat
from ..access import database
from ..maintenance import prune as pruning
from ..models import Job
from ..models.job import JobQuerySet
from .arguments import filled
from .backends import chosen, stored
from .job_filters import add_filters, check_queue, is_filtered, selected, uuid, when
from .output import Printer

#: The verbs on jobs, with their help texts.
ON_JOBS = {
    "retry": "run jobs again that failed, expired or were cancelled",
    "cancel": "cancel waiting jobs, and ask running jobs to end",
    "discard": "cancel waiting jobs, but not running jobs",
}
#: How many jobs one transaction changes.
SLICE = 500


def add_actions(commands: Any) -> Iterator[ArgumentParser]:
    for name, text in ON_JOBS.items():
        parser = commands.add_parser(name, help=text)
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of jobs")
        add_filters(parser)
        parser.add_argument(
            "--limit",
            type=int,
            default=1000,
            metavar="N",
            help="at most this many of the jobs that filters find (default: 1000)",
        )
        parser.add_argument("--all", action="store_true", help="all jobs that filters find")
        parser.add_argument("--reason", default="", help="why, for people to read")
        if name == "retry":
            parser.add_argument(
                "--at", type=filled, metavar="TIME", help="not before: 2026-01-31T08:00, or in 30m, 2h, 7d"
            )
        yield parser
    pause = commands.add_parser("pause", help="stop workers from starting jobs of a queue")
    resume = commands.add_parser("resume", help="let workers start jobs of a queue again")
    limit = commands.add_parser(
        "limit", help="limit how many jobs of a queue run at the same time, over all workers"
    )
    for parser in (pause, resume, limit):
        parser.add_argument("queue", metavar="QUEUE")
        parser.add_argument(
            "--force", action="store_true", help="accept a queue that no task, job or setting names"
        )
        parser.add_argument(
            "--backend", type=filled, default=compat.DEFAULT_TASK_BACKEND_ALIAS, metavar="ALIAS"
        )
        parser.add_argument("--reason", default="", help="why, for people to read")
    pause.add_argument(
        "--until", type=filled, metavar="TIME", help="end of the pause: 2026-01-31T08:00, or in 30m, 2h, 7d"
    )
    limit.add_argument("number", metavar="N", help="number of jobs, or 'none' for no limit")
    yield pause
    yield resume
    yield limit
    prune = commands.add_parser("prune", help="delete finished jobs whose retention is over")
    prune.add_argument(
        "--backend", type=filled, metavar="ALIAS", help="alias in TASKS (default: all that store jobs)"
    )
    yield prune


def on_jobs(printer: Printer, options: dict[str, Any]) -> int:
    """Return 0, or 1 if nothing was done."""
    verb = options["verb"]
    more: dict[str, Any] = {"reason": options["reason"]}
    if verb == "retry" and options["at"]:
        more["at"] = when(options["at"])
    ids, is_more = ([], False) if options["all"] else _ids(options, more)
    done: set[UUID] = set()
    requested: set[UUID] = set()
    skipped: dict[str, set[UUID]] = {}
    for some_ids in _all(options, more) if options["all"] else _slices(ids):
        try:
            result = getattr(actions, verb)(some_ids, **more)
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from error
        done |= result.done
        requested |= getattr(result, "requested", set())
        for reason, some in result.skipped.items():
            skipped.setdefault(reason.value, set()).update(some)
    parts = [f"{len(done)} done"]
    if requested:
        parts.append(f"{len(requested)} asked to end")
    reasons = {reason.value: str(reason.label) for reason in actions.Reason}
    parts += [f"{len(some)} skipped: {reasons[reason]}" for reason, some in sorted(skipped.items())]
    if is_more:
        parts.append("there are more")
    data = {
        "done": sorted(map(str, done)),
        "requested": sorted(map(str, requested)),
        "skipped": {reason: sorted(map(str, some)) for reason, some in skipped.items()},
        "more": is_more,
    }
    printer.line(f"{verb}: {', '.join(parts)}.", data)
    return 0 if done or requested else 1


def _ids(options: dict[str, Any], values: dict[str, Any]) -> tuple[list[UUID], bool]:
    """Return the ids of jobs to act on, and whether the filters find more. Raise CommandError."""
    if options["ids"]:
        if is_filtered(options):
            raise CommandError("Name ids or filters, not both.")
        return sorted({uuid(text) for text in options["ids"]}), False
    if not is_filtered(options):
        raise CommandError("Name the jobs: ids, or filters such as --status failed --task NAME.")
    if options["limit"] < 1:
        raise CommandError(f"--limit must be at least 1, not {options['limit']}.")
    return actions.collected(_selection(options), _pending(options, values), options["limit"])


def _selection(options: dict[str, Any]) -> actions.Selection:
    """Return what the filters select: without ``--status``, jobs in the states that the verb can change."""
    return selected(options, actions.NAMED[options["verb"]].states)


def _pending(options: dict[str, Any], values: dict[str, Any]) -> JobQuerySet:
    """Return the jobs that the verb has yet to change."""
    return actions.NAMED[options["verb"]].pending(Job.objects.using(database()), **values)


def _slices(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), SLICE):
        yield ids[start : start + SLICE]


def _all(options: dict[str, Any], values: dict[str, Any]) -> Iterator[list[UUID]]:
    """Generate the ids of the jobs that the filters find, except those enqueued or ended from now on."""
    if options["ids"] or not is_filtered(options):
        raise CommandError("--all needs filters such as --status failed --task NAME, and no ids.")
    walk = actions.Walk(_selection(options).until_now(), _pending(options, values))
    while not walk.is_over:
        # A part of an index may have none of the jobs, and a later part some.
        if ids := walk.ids(SLICE):
            yield ids


def pause(printer: Printer, options: dict[str, Any]) -> int:
    more = {"until": when(options["until"])} if options["until"] else {}
    queue, backend = _queue(options)
    try:
        is_changed = actions.pause(
            queue, by=f"{getpass.getuser()} (shell)", reason=options["reason"], backend=backend, **more
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    text = "is paused" if is_changed else "was paused already"
    data = {"queue": queue, "backend": backend, "paused": True, "news": is_changed}
    printer.line(f"Queue {queue!r} {text}.", data)
    return 0


def _queue(options: dict[str, Any]) -> tuple[str, str]:
    """Return the queue and the alias of its backend. Raise CommandError if they are unknown."""
    queue, backend = options["queue"], stored(options["backend"])
    check_queue(queue, [backend], force=options["force"])
    return queue, backend.alias


def limit(printer: Printer, options: dict[str, Any]) -> int:
    queue, backend = _queue(options)
    text = options["number"].lower()
    try:
        number = None if text == "none" else int(text)
        is_changed = actions.limit(queue, number, reason=options["reason"], backend=backend)
    except (TypeError, ValueError) as error:
        if not text.lstrip("-").isdigit():
            raise CommandError(
                f"{text!r:.60} is not a number of jobs: write a number such as 5, or none."
            ) from None
        raise CommandError(str(error)) from error
    bound = "any number of jobs" if number is None else f"at most {number} jobs"
    text = f"runs {bound} at a time" if is_changed else f"ran {bound} at a time already"
    data = {"queue": queue, "backend": backend, "max_running": number, "news": is_changed}
    printer.line(f"Queue {queue!r} {text}.", data)
    return 0


def resume(printer: Printer, options: dict[str, Any]) -> int:
    queue, backend = _queue(options)
    try:
        is_changed = actions.resume(queue, reason=options["reason"], backend=backend)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    text = "is resumed" if is_changed else "was not paused"
    data = {"queue": queue, "backend": backend, "paused": False, "news": is_changed}
    printer.line(f"Queue {queue!r} {text}.", data)
    return 0


def prune(printer: Printer, options: dict[str, Any]) -> int:
    counts = {}
    for backend in chosen(options["backend"]):
        count = 0
        while found := pruning.prune(backend.storage, backend.alias, backend.settings):
            count += found
        while pruning.forget(backend.storage) >= pruning.SLICE:
            pass
        counts[backend.alias] = count
    numbers = ", ".join(f"{alias}: {count}" for alias, count in counts.items())
    printer.line(f"Jobs deleted, or their results cleared: {numbers}.", counts)
    return 0


ACTIONS = {
    **dict.fromkeys(ON_JOBS, on_jobs),
    "pause": pause,
    "resume": resume,
    "limit": limit,
    "prune": prune,
}
