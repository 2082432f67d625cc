"""Schedules that the code declares, beside its tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings

from ..definition.call import MAX_BYTES, BoundTask
from ..definition.registry import refuse_internal
from ..definition.task import Task
from ..payload import codec
from ..timing import Missed, Overlap, Timing, timing_of
from ..validation import one_line, suggestion

#: Longest name of a schedule, in characters.
MAX_NAME = 128


#: What the REST API adds to the address of a schedule.
VERBS = ("delete", "disable", "enable", "run", "save", "skip")


def schedule_name(name: Any) -> str:
    """Return a name that a schedule can have, also in an address. Raises TypeError or ValueError."""
    one_line(name, "name", maximum=MAX_NAME)
    *parts, last = name.split("/")
    if any(part.strip() in ("", ".", "..") for part in (*parts, last)):
        raise ValueError(
            f"name must not be {name!r:.100}: it is part of addresses, in which an empty part between "
            "slashes, '.' and '..' are lost."
        )
    if parts and last in VERBS:
        raise ValueError(
            f"name must not end in '/{last}', as {name!r:.100} does: that is an address of the schedule "
            f"{'/'.join(parts)!r:.100}."
        )
    return str(name)


@dataclass(frozen=True, kw_only=True)
class DeclaredSchedule:
    """One schedule of the code. Made by ``schedule()``."""

    name: str
    call: BoundTask[..., Any]
    timing: Timing
    missed: Missed = Missed.ONE
    overlap: Overlap = Overlap.ALLOW
    #: Where it is declared, for people.
    source: str = field(default="", compare=False)

    @property
    def backend(self) -> str:
        return self.call.task.backend

    def encoded(self) -> str:
        """Return the arguments as a job has them. Raises UnserializableValue or UnstorableValue."""
        args, kwargs = self.call.task.encoded(self.call.args, self.call.kwargs)
        return codec.dump_arguments(args, kwargs, MAX_BYTES)


class DeclaredSchedules:
    """The schedules that this process's code declares, by name."""

    def __init__(self) -> None:
        self._schedules: dict[str, DeclaredSchedule] = {}
        #: What was refused, for a system check to report, also where the error was caught.
        self.clashes: list[str] = []

    def add(self, declared: DeclaredSchedule) -> None:
        """Raise ValueError for a name that another place has taken."""
        known = self._schedules.get(declared.name)
        if known is not None and known.source != declared.source:
            clash = (
                f"The schedule name {declared.name!r} is taken at {known.source}; "
                f"the schedule at {declared.source} needs another one."
            )
            self.clashes.append(clash)
            raise ValueError(clash)
        self._schedules[declared.name] = declared

    def get(self, name: str) -> DeclaredSchedule:
        """Raise KeyError."""
        try:
            return self._schedules[name]
        except KeyError:
            raise KeyError(f"No schedule is named {name!r}.{suggestion(name, self._schedules)}") from None

    def of(self, backend: str) -> list[DeclaredSchedule]:
        """Return the schedules whose jobs a backend holds."""
        return [declared for declared in self if declared.backend == backend]

    def remove(self, name: str) -> None:
        """Remove a declaration. For tests."""
        self._schedules.pop(name, None)

    def __iter__(self) -> Iterator[DeclaredSchedule]:
        return iter(self._schedules.values())

    def __contains__(self, name: object) -> bool:
        return name in self._schedules


schedules = DeclaredSchedules()


def schedule(
    name: str,
    call: Task[[], Any] | BoundTask[..., Any],
    *,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str | None = None,
    missed: str = "one",
    overlap: str = "allow",
) -> DeclaredSchedule:
    """Declare that workers enqueue a call by a cron expression, or at an interval of seconds.

    ``name`` is unique in the project, and what people know the schedule by. ``call`` is a task without
    arguments, or one with them, ``report.bind("weekly")``; options of ``using()`` count. ``cron`` has five
    fields, or six with seconds first, and means the clocks of ``timezone``, by default ``TIME_ZONE``.
    ``missed`` says what becomes of times at which no worker was there: "skip", "one" or "all" of them are
    made up for. With ``overlap="skip"`` a time is left out while the job of an earlier one has not ended.

    Raises TypeError or ValueError for what cannot be used, and for a name that is taken; InvalidTask for a
    task of the package itself.
    """
    schedule_name(name)
    if isinstance(call, Task):
        call.check_arguments((), {})
        call = BoundTask(call, (), {})
    if not isinstance(call, BoundTask):
        raise TypeError(f"A schedule enqueues a task, or a call made by task.bind(), not {call!r:.100}.")
    refuse_internal(call.task.name)
    for option in ("run_after", "expires_at"):
        if getattr(call.task, option) is not None:
            raise TypeError(
                f"{option} belongs to one job, and a schedule enqueues many: leave it out of using()."
            )
    caller = sys._getframe(1)
    declared = DeclaredSchedule(
        name=name,
        call=call,
        timing=timing_of(cron=cron, every=every, timezone=timezone or settings.TIME_ZONE),
        missed=Missed.of(missed),
        overlap=Overlap.of(overlap),
        source=f"{caller.f_globals.get('__name__', '?')}:{caller.f_lineno}",
    )
    schedules.add(declared)
    return declared
