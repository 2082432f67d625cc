"""Takes single protections out of the code, to prove that the tests would notice.

Each is a piece of text that must be where it is expected, so that a proof cannot outlive what it proves.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from django_tasks_q.storage import base, postgresql, storage_for
from django_tasks_q.worker import lease

#: Of each guard of a write: its text in PostgreSQL's statement, and in the portable code.
GUARDS = {
    "fence": (" AND job.fence = ending.fence", " fence=outcome.fence,"),
    "state": (" AND job.status = 'RUNNING'", ", status=JobStatus.RUNNING"),
}


@contextmanager
def without(*protections: str) -> Iterator[None]:
    """Run without ``fence`` or ``state`` in the writes of endings, or without the worker's own ``lease``."""
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
    statement, portable = postgresql.FINISH, textwrap.dedent(inspect.getsource(base.Storage.finish))
    for protection in protections:
        if protection == "lease":
            yield mock.patch.object(lease, "KILL", float("inf"))
            yield mock.patch.object(lease, "STOP_CLAIMING", float("inf"))
            yield mock.patch.object(base.Storage, "heartbeat", lambda self, worker_id, seconds: True)
            continue
        in_statement, in_portable = GUARDS[protection]
        statement, portable = _cut(statement, in_statement), _cut(portable, in_portable)
    scope: dict[str, object] = {}
    exec(portable, vars(base), scope)
    yield mock.patch.object(base.Storage, "finish", scope["finish"])
    yield mock.patch.object(postgresql, "FINISH", statement)


def _cut(text: str, piece: str) -> str:
    assert text.count(piece) == 1, f"{piece!r} is there {text.count(piece)} times"
    return text.replace(piece, "")
