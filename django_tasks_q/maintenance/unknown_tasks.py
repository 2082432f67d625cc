"""Tells of jobs that wait because no worker seems to know their task. They are never discarded."""

from __future__ import annotations

import logging
from collections.abc import Collection

from ..storage import Storage

logger = logging.getLogger("django_tasks_q.maintenance")

#: Seconds that a job of an unknown task waits before it is worth a word: during a deploy that is usual.
PATIENCE = 60.0


def report_unknown(storage: Storage, backend: str, known: Collection[str]) -> list[str]:
    """Log the unknown tasks that jobs have been waiting for. Answers their names."""
    names = storage.unknown(backend, known, PATIENCE)
    if names:
        logger.warning(
            "Jobs of backend %r have waited for more than %g seconds for tasks that this worker does not "
            "know: %s. They stay for a worker that does; run one with their code, or cancel them.",
            backend,
            PATIENCE,
            ", ".join(repr(name) for name in names),
        )
    return names
