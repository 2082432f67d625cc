"""The verbs of ``manage.py tasks`` that change something: those of ``actions``, as in the admin."""

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
from .arguments import filled
from .backends import chosen, stored
from .job_filters import add_filters, check_queue, is_filtered, selected, uuid, when
from .output import Printer

#: Verbs on jobs: what they do, and whether they take a time.
ON_JOBS = {
    "retry": "run jobs once more that failed, expired or were cancelled",
    "cancel": "cancel jobs that wait, and ask running ones to end",
    "discard": "cancel jobs that wait, and leave running ones alone",
}
#: Jobs that are changed by one transaction.
SLICE = 500


def add_deeds(commands: Any) -> Iterator[ArgumentParser]:
    for name, told in ON_JOBS.items():
        parser = commands.add_parser(name, help=told)
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of jobs")
        add_filters(parser)
        parser.add_argument(
            "--limit", type=int, default=1000, metavar="N", help="at most so many found by filters"
        )
        parser.add_argument("--all", action="store_true", help="all that filters find, however many")
        parser.add_argument("--reason", default="", help="for people to read")
        if name == "retry":
            parser.add_argument(
                "--at", type=filled, metavar="TIME", help="not before: 2026-01-31T08:00, or in 30m, 2h, 7d"
            )
        yield parser
    pause = commands.add_parser("pause", help="have workers start nothing of a queue")
    resume = commands.add_parser("resume", help="have them start it again")
    limit = commands.add_parser(
        "limit", help="bound how many jobs of a queue run at a time, over all workers"
    )
    for parser in (pause, resume, limit):
        parser.add_argument("queue", metavar="QUEUE")
        parser.add_argument("--force", action="store_true", help="also where nothing knows of such a queue")
        parser.add_argument(
            "--backend", type=filled, default=compat.DEFAULT_TASK_BACKEND_ALIAS, metavar="ALIAS"
        )
        parser.add_argument("--reason", default="", help="for people to read")
    pause.add_argument("--until", type=filled, metavar="TIME", help="2026-01-31T08:00, or in 30m, 2h, 7d")
    limit.add_argument("number", metavar="N", help="so many, or 'none' for any number")
    yield pause
    yield resume
    yield limit
    prune = commands.add_parser("prune", help="delete finished jobs whose retention is over")
    prune.add_argument(
        "--backend", type=filled, metavar="ALIAS", help="alias in TASKS (default: all that store jobs)"
    )
    yield prune


def on_jobs(printer: Printer, options: dict[str, Any]) -> int:
    """Ends with 1 if nothing was done."""
    verb = options["verb"]
    more: dict[str, Any] = {"reason": options["reason"]}
    if verb == "retry" and options["at"]:
        more["at"] = when(options["at"])
    ids, is_more = ([], False) if options["all"] else _ids(options)
    done: set[UUID] = set()
    requested: set[UUID] = set()
    skipped: dict[str, set[UUID]] = {}
    for some_ids in _all(options) if options["all"] else _slices(ids):
        try:
            answer = getattr(actions, verb)(some_ids, **more)
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from error
        done |= answer.done
        requested |= getattr(answer, "requested", set())
        for reason, some in answer.skipped.items():
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


def _ids(options: dict[str, Any]) -> tuple[list[UUID], bool]:
    if options["ids"]:
        if is_filtered(options):
            raise CommandError("Name ids or filters, not both.")
        return sorted({uuid(text) for text in options["ids"]}), False
    if not is_filtered(options):
        raise CommandError("Name the jobs: ids, or filters such as --status failed --task NAME.")
    if options["limit"] < 1:
        raise CommandError(f"--limit must be at least 1, not {options['limit']}.")
    return actions.collected(_selection(options), Job.objects.using(database()), options["limit"])


def _selection(options: dict[str, Any]) -> actions.Selection:
    """Without jobs in states in which the verb changes nothing, unless they are asked for by their state."""
    return selected(options, actions.NAMED[options["verb"]].states)


def _slices(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), SLICE):
        yield ids[start : start + SLICE]


def _all(options: dict[str, Any]) -> Iterator[list[UUID]]:
    """All jobs of now that the filters find, along the indexes in which they lie."""
    if options["ids"] or not is_filtered(options):
        raise CommandError("--all needs filters such as --status failed --task NAME, and no ids.")
    # What is enqueued, or ends, meanwhile is not what somebody has looked at.
    walk = actions.Walk(_selection(options).until_now(), Job.objects.using(database()))
    while not walk.is_over:
        # Where a part of an index has none of them, there may be more behind it.
        if ids := walk.ids(SLICE):
            yield ids


def pause(printer: Printer, options: dict[str, Any]) -> int:
    more = {"until": when(options["until"])} if options["until"] else {}
    queue, backend = _queue(options)
    try:
        news = actions.pause(
            queue, by=f"{getpass.getuser()} (shell)", reason=options["reason"], backend=backend, **more
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    told = "is paused" if news else "was paused already"
    data = {"queue": queue, "backend": backend, "paused": True, "news": news}
    printer.line(f"Queue {queue!r} {told}.", data)
    return 0


def _queue(options: dict[str, Any]) -> tuple[str, str]:
    """A queue that something knows of, and the alias of its backend. Raises CommandError."""
    queue, backend = options["queue"], stored(options["backend"])
    check_queue(queue, [backend], force=options["force"])
    return queue, backend.alias


def limit(printer: Printer, options: dict[str, Any]) -> int:
    queue, backend = _queue(options)
    text = options["number"].lower()
    try:
        number = None if text == "none" else int(text)
        news = actions.limit(queue, number, reason=options["reason"], backend=backend)
    except (TypeError, ValueError) as error:
        if not text.lstrip("-").isdigit():
            raise CommandError(f"{text!r:.60} is no number of jobs: write 5, or none.") from None
        raise CommandError(str(error)) from error
    bound = "any number of jobs" if number is None else f"at most {number} jobs"
    told = f"runs {bound} at a time" if news else f"ran {bound} at a time already"
    data = {"queue": queue, "backend": backend, "max_running": number, "news": news}
    printer.line(f"Queue {queue!r} {told}.", data)
    return 0


def resume(printer: Printer, options: dict[str, Any]) -> int:
    queue, backend = _queue(options)
    try:
        news = actions.resume(queue, reason=options["reason"], backend=backend)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    told = "is resumed" if news else "was not paused"
    data = {"queue": queue, "backend": backend, "paused": False, "news": news}
    printer.line(f"Queue {queue!r} {told}.", data)
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
    told = ", ".join(f"{alias}: {count}" for alias, count in counts.items())
    printer.line(f"Jobs deleted, or their results cleared: {told}.", counts)
    return 0


DEEDS = {
    **dict.fromkeys(ON_JOBS, on_jobs),
    "pause": pause,
    "resume": resume,
    "limit": limit,
    "prune": prune,
}
