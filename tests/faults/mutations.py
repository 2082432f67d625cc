"""Takes single protections out of the code, to prove that the tests would notice.

Each is a piece of text that must be where it is expected, so that a proof cannot outlive what it proves.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from unittest import mock

from django_tasks_q.storage import storage_for
from django_tasks_q.storage.orm import jobs, workers
from django_tasks_q.storage.postgresql import statements
from django_tasks_q.worker import lease

#: Of each guard of a write: its text in PostgreSQL's statements, and in the portable code.
GUARDS = {
    "fence": (" AND job.fence = ending.fence", " fence=outcome.fence,"),
    "state": (" AND COALESCE(job.status, '') = 'RUNNING'", ", status=JobStatus.RUNNING"),
}


@contextmanager
def without(*protections: str) -> Iterator[None]:
    """Run without ``fence`` or ``state`` in the writes of endings, or with a ``lease`` for ever."""
    with ExitStack() as stack:
        for patch in _patches(protections):
            stack.enter_context(patch)
        storage_for.cache_clear()
        try:
            yield
        finally:
            storage_for.cache_clear()


def remove(*protections: str) -> None:
    """The same for the rest of this process, before it has asked for a storage."""
    for patch in _patches(protections):
        patch.start()


def _patches(protections: tuple[str, ...]) -> Iterator[mock._patch]:
    names, portable = ("FINISH", "SUCCEED"), _source(jobs.Jobs.finish)
    texts = [getattr(statements, name) for name in names]
    for protection in protections:
        if protection == "lease":
            yield mock.patch.object(lease, "KILL", float("inf"))
            yield mock.patch.object(lease, "STOP_CLAIMING", float("inf"))
            kind = workers.Workers
            source = _cut(_source(kind.heartbeat), "lease_expires_at__gt=DatabaseNow(lease / 12), ")
            yield mock.patch.object(kind, "heartbeat", _compiled(source, "heartbeat", workers))
            continue
        in_statement, in_portable = GUARDS[protection]
        texts, portable = [_cut(text, in_statement) for text in texts], _cut(portable, in_portable)
    yield mock.patch.object(jobs.Jobs, "finish", _compiled(portable, "finish", jobs))
    for name, text in zip(names, texts, strict=True):
        yield mock.patch.object(statements, name, text)


def _source(function: Callable[..., object]) -> str:
    return textwrap.dedent(inspect.getsource(function))


def _compiled(source: str, name: str, module: ModuleType) -> object:
    scope: dict[str, object] = {}
    exec(source, vars(module), scope)
    return scope[name]


def _cut(text: str, piece: str) -> str:
    assert text.count(piece) == 1, f"{piece!r} is there {text.count(piece)} times"
    return text.replace(piece, "")
