"""Warns about jobs that wait because no worker seems to know their task. They are never discarded."""

from __future__ import annotations

from collections.abc import Collection

from ..loggers import robust_logger
from ..storage import Storage

logger = robust_logger("django_tasks_q.maintenance")

#: Seconds that a job of an unknown task waits before a warning: during a deploy that is usual.
WARN_AFTER = 60.0


def report_unknown(storage: Storage, backend: str, known: Collection[str]) -> list[str]:
    """Warn about the unknown tasks that jobs have been waiting for, and return their names."""
    names = storage.maintenance.unknown(backend, known, WARN_AFTER)
    if names:
        logger.warning(
            "Jobs of backend %r have waited for more than %g seconds for tasks that this worker does not "
            "know: %s. They stay for a worker that does; run one with their code, or cancel them.",
            backend,
            WARN_AFTER,
            ", ".join(repr(name) for name in names),
        )
    return names
