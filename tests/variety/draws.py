"""What calls and their workers may look like, and how chance draws one of them.

A draw is plain data, so that it can be printed, cut down and played again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .tasks import DEEDS, SPOIL_STREAMS

#: Bytes of arguments that are not padding.
SPEC = 8 * 1024
LARGEST = 256 * 1024 - SPEC
#: Bytes of arguments of a draw, and seconds that its runs may sleep in all.
MOST_BYTES, MOST_SECONDS = 30_000_000, 8.0
#: Ends after which a process is gone, those that an alarm or a kill makes, and those that are retried.
CRASHES = ("_exit", "kill")
OVERRUNS = ("timeout", "stubborn")
AGAIN = ("raise", "exit", "snooze")
#: Times that a job may take its process down.
MAX_CRASHES = 3
#: What is done to workers, as opposed to jobs and queues.
HARM = (
    "kill worker",
    "kill child",
    "kill server",
    "end child",
    "end worker",
    "interrupt worker",
    "freeze child",
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a job."""

    end: str = "return"
    seconds: float = 0.0
    deeds: tuple[str, ...] = ()
    #: Bytes of its return value.
    result: int = 0
    #: Seconds that a snooze lasts.
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A number of jobs alike. The last step is that of all later runs, too."""

    count: int = 1
    body: str = "process"
    steps: tuple[Step, ...] = (Step(),)
    pad: int = 0
    max_attempts: int = 1
    backoff: float = 0.0
    timeout: float | None = None
    on_lost: str = "retry"
    run_after: float | None = None
    expires: float | None = None
    priority: int = 0

    @property
    def overruns(self) -> bool:
        return any(step.end in OVERRUNS for step in self.steps)

    @property
    def crashes(self) -> bool:
        return any(step.end in CRASHES for step in self.steps)

    @property
    def longest_wait(self) -> float:
        """Seconds in which a healthy worker with nothing else to do may let nothing be seen of it."""
        steps = max(step.seconds + step.delay for step in self.steps)
        return steps + self.backoff + (self.timeout or 0.0) + (self.run_after or 0.0)

    @property
    def busy(self) -> float:
        """Seconds that its jobs keep a place busy, if none is interrupted."""
        seconds, number, attempts, crashes = 0.0, 0, 0, 0
        while attempts < self.max_attempts and crashes < MAX_CRASHES and number < 100:
            step = self.steps[min(number, len(self.steps) - 1)]
            number += 1
            seconds += (self.timeout or 0.0) + 1.0 if step.end in OVERRUNS else step.seconds
            attempts += step.end not in (*CRASHES, "snooze")
            crashes += step.end in CRASHES
            if step.end not in (*CRASHES, *AGAIN):
                break
        return self.count * seconds


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens ``at`` seconds after the first job was enqueued."""

    what: str
    at: float = 0.0
    #: Which worker, child or jobs, for whoever does it to choose by.
    which: int = 0


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Jobs, the workers that run them, and what happens meanwhile."""

    kinds: tuple[Kind, ...]
    events: tuple[Event, ...] = ()
    workers: int = 1
    processes: int = 1
    per_child: int | None = None
    #: Whether the workers are there before the jobs.
    early: bool = False
    #: Whether print() is buffered as where nobody has set PYTHONUNBUFFERED.
    buffered: bool = False
    #: Whether the project has a task of another executor, too.
    mixed: bool = False

    @property
    def is_harmed(self) -> bool:
        return any(event.what in HARM for event in self.events)

    @property
    def deeds(self) -> set[str]:
        return {deed for kind in self.kinds for step in kind.steps for deed in step.deeds}

    @property
    def spoils_streams(self) -> bool:
        return bool(self.deeds.intersection(SPOIL_STREAMS))

    @property
    def stops_workers(self) -> bool:
        return any(event.what in ("end worker", "interrupt worker") for event in self.events)

    @property
    def leaves_copies(self) -> bool:
        """Whether copies of a process may be ended while they write."""
        return any(deed.startswith("fork") for deed in self.deeds)

    @property
    def jobs(self) -> int:
        return sum(kind.count for kind in self.kinds)

    def quiet(self, lease: float) -> float:
        """Seconds after which something has to have begun or ended, on a busy machine too."""
        paused = 2.0 if any(event.what == "pause" for event in self.events) else 0.0
        last = max((event.at for event in self.events), default=0.0)
        return 10.0 + 3 * lease + paused + last + max(kind.longest_wait for kind in self.kinds)

    def bound(self, lease: float) -> float:
        """Seconds in which everything has to have ended, one after the other and three times as slow."""
        moved = sum(kind.count * kind.pad for kind in self.kinds) / 1e6
        busy = sum(kind.busy for kind in self.kinds)
        harm = sum(event.what in HARM for event in self.events) * (2 * lease + 2.0)
        crashes = sum(kind.count * MAX_CRASHES for kind in self.kinds if kind.crashes or kind.overruns)
        starts = 0.0 if self.per_child is None else self.jobs / self.per_child
        return self.quiet(lease) + 3 * (busy + moved + harm + 0.5 * (crashes + starts) + 0.01 * self.jobs)

    def dumps(self) -> str:
        return json.dumps(_without_defaults(asdict(self), Draw))

    @classmethod
    def loads(cls, text: str) -> Self:
        told = json.loads(text)
        kinds = tuple(
            Kind(**kind | {"steps": tuple(_step(step) for step in kind.get("steps", [{}]))})
            for kind in told["kinds"]
        )
        return cls(
            **told | {"kinds": kinds, "events": tuple(Event(**each) for each in told.get("events", ()))}
        )


def _step(told: dict[str, Any]) -> Step:
    return Step(**told | {"deeds": tuple(told.get("deeds", ()))})


def _without_defaults(told: dict[str, Any], kind: type) -> dict[str, Any]:
    inner = {"kinds": Kind, "events": Event, "steps": Step}
    kept = {}
    for name, value in told.items():
        if name in inner:
            value = [_without_defaults(each, inner[name]) for each in value]
        default = kind.__dataclass_fields__[name].default
        if isinstance(value, tuple):
            value = list(value)
        if value != (list(default) if isinstance(default, tuple) else default):
            kept[name] = value
    return kept


# Chance

#: As tasks are: nearly all are done at once, a few take their time.
SHORT = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.005, 0.02, 0.05])
TAKES_TIME = st.floats(0.3, 3.5).map(lambda seconds: round(seconds, 1))
#: Of a run after which there is another, if attempts are left, and of one after which there may be none.
FIRST = st.sampled_from(["raise"] * 4 + ["snooze", "exit", "_exit", "kill"])
LAST = st.sampled_from(
    ["return"] * 10
    + ["raise", "fail", "unstorable", "exit", "cancel", "_exit", "kill", "timeout", "stubborn"]
)
PLAIN = st.sampled_from(["return"] * 6 + ["raise", "fail", "unstorable"])
DEED = st.sampled_from(["print"] * 3 + sorted(DEEDS))
NO_DEEDS = st.just([])
SOME_DEEDS = st.one_of(NO_DEEDS, st.lists(DEED, min_size=1, max_size=3))
PAD = st.one_of(
    st.just(0),
    st.sampled_from([1_000, 5_000, 20_000, 60_000, LARGEST]),
    st.integers(0, LARGEST),
)
#: Of a project with one sort of tasks, and of one with all.
BODIES = st.sampled_from(
    [
        ["process"],
        ["process"],
        ["process", "process", "atomic"],
        ["thread"],
        ["async"],
        ["process", "process", "process", "thread", "async", "atomic"],
    ]
)


@st.composite
def steps(
    draw: st.DrawFn, ends: st.SearchStrategy, seconds: st.SearchStrategy, deeds: st.SearchStrategy
) -> Step:
    end = draw(ends)
    return Step(
        end=end,
        seconds=draw(seconds),
        deeds=tuple(draw(deeds)),
        result=draw(st.sampled_from([0, 0, 0, 10, 1_000, 30_000, 900_000])) if end == "return" else 0,
        delay=draw(st.sampled_from([0.0, 0.05, 0.5])) if end == "snooze" else 0.0,
    )


@st.composite
def kinds(draw: st.DrawFn, bodies: list[str]) -> Kind:
    match draw(st.sampled_from(["many", "long", "strange"])):
        case "many":
            count = draw(st.one_of(st.integers(1, 50), st.sampled_from([100, 300, 600, 100, 300, 600])))
            script = [draw(steps(PLAIN, SHORT, NO_DEEDS))]
        case "long":
            # They may fail at once, and take their time when they run again.
            count = draw(st.integers(1, 3))
            either = st.one_of(SHORT, TAKES_TIME)
            script = draw(st.lists(steps(FIRST, either, NO_DEEDS), max_size=2))
            script.append(draw(steps(LAST, TAKES_TIME, SOME_DEEDS)))
        case _:
            count = draw(st.integers(1, 8))
            script = draw(st.lists(steps(FIRST, SHORT, SOME_DEEDS), max_size=2))
            script.append(draw(steps(LAST, SHORT, SOME_DEEDS)))
    pad = draw(PAD)
    largest = max(pad + step.result for step in script)
    count = max(1, min(count, MOST_BYTES // max(1, largest)))
    timed = any(step.end in OVERRUNS for step in script)
    return Kind(
        count=min(count, 3) if timed else count,
        body=draw(st.sampled_from(bodies)),
        steps=tuple(script),
        pad=pad,
        max_attempts=draw(st.sampled_from([1, 2, 3, 5])),
        backoff=draw(st.sampled_from([0.0, 0.0, 0.05, 0.5])),
        timeout=0.3 if timed else draw(st.sampled_from([None, None, 20.0])),
        on_lost=draw(st.sampled_from(["retry", "retry", "retry", "fail"])),
        run_after=draw(st.sampled_from([None, None, None, 0.1, 1.0])),
        expires=draw(st.sampled_from([None, None, None, None, None, 0.05, 0.5, 60.0])),
        priority=draw(st.sampled_from([0, 0, 0, -50, 50])),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Kind]:
    """Bursts of jobs that are over at once, each of one size: a worker applies what it learns to the next."""
    body = draw(st.sampled_from(["process", "process", "thread", "async"]))
    many = st.sampled_from([100, 300, 600])
    return [
        Kind(count=min(draw(many), max(1, MOST_BYTES // (2 * max(1, pad)))), body=body, pad=pad)
        for pad in draw(st.lists(PAD, min_size=2, max_size=4))
    ]


EVENT = st.builds(
    Event,
    what=st.sampled_from([*HARM, "cancel", "cancel", "pause", "retry"]),
    at=st.floats(0.0, 3.0).map(lambda seconds: round(seconds, 2)),
    which=st.integers(0, 100),
)


@st.composite
def draws(draw: st.DrawFn) -> Draw:
    sorts = st.lists(kinds(draw(BODIES)), min_size=1, max_size=5)
    drawn = draw(st.one_of(sorts, sorts, sorts, streams()))
    kept: list[Kind] = []
    seconds = bytes_ = 0.0
    for kind in drawn:
        fits = kind
        while fits.count > 1 and (
            seconds + fits.busy > MOST_SECONDS or bytes_ + fits.count * fits.pad > MOST_BYTES
        ):
            fits = replace(fits, count=fits.count // 2)
        seconds, bytes_ = seconds + fits.busy, bytes_ + fits.count * fits.pad
        kept.append(fits)
    few = sum(kind.count for kind in kept) <= 100  # for more, a child each would only take its time
    return Draw(
        kinds=tuple(kept),
        events=tuple(draw(st.one_of(st.just([]), st.lists(EVENT, max_size=4)))),
        workers=draw(st.sampled_from([1, 1, 2])),
        processes=draw(st.sampled_from([1, 2, 2, 3])),
        per_child=draw(st.sampled_from([None, None, None, 1, 3])) if few else None,
        early=draw(st.booleans()),
        buffered=draw(st.booleans()),
        mixed=draw(st.sampled_from([False, False, True])),
    )


def drawn(number: int) -> Draw:
    """The draw of a seed."""
    found: list[Draw] = []

    @seed(number)
    @settings(
        max_examples=2,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(draws())
    def collect(draw: Draw) -> None:
        found.append(draw)

    # The first is the simplest of all, and those that come after many are likenesses of earlier ones.
    collect()
    return found[-1]


def cut(draw: Draw) -> list[Draw]:
    """The same with a little less, the largest cuts first."""
    events, kinds = draw.events, draw.kinds
    less = [replace(draw, events=_without(events, number)) for number in range(len(events))]
    if len(kinds) > 1:
        less += [replace(draw, kinds=_without(kinds, number)) for number in range(len(kinds))]
    less += [replace(draw, **change) for change in _plainer(draw, ("kinds", "events"))]
    less += [
        replace(draw, kinds=(*kinds[:number], smaller, *kinds[number + 1 :]))
        for number, kind in enumerate(kinds)
        for smaller in _smaller(kind)
    ]
    return less


def _smaller(kind: Kind) -> list[Kind]:
    steps = kind.steps
    less = [replace(kind, count=count) for count in sorted({1, kind.count // 2}) if 0 < count < kind.count]
    less += [replace(kind, **change) for change in _plainer(kind, ("count", "steps", "max_attempts"))]
    if len(steps) > 1:
        less += [replace(kind, steps=_without(steps, number)) for number in range(len(steps))]
    for number, step in enumerate(steps):
        plainer = [replace(step, deeds=_without(step.deeds, each)) for each in range(len(step.deeds))]
        plainer += [replace(step, **change) for change in _plainer(step, ("end", "deeds"))]
        less += [replace(kind, steps=(*steps[:number], each, *steps[number + 1 :])) for each in plainer]
    return less


def _without(items: tuple[Any, ...], number: int) -> tuple[Any, ...]:
    return items[:number] + items[number + 1 :]


def _plainer(drawn: Any, kept: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each way to take one of its fields back to the default."""
    return [
        {each.name: each.default}
        for each in fields(drawn)
        if each.name not in kept and getattr(drawn, each.name) != each.default
    ]
