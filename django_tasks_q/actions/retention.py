"""Actions on how long jobs are kept: delete, pin and unpin."""

from __future__ import annotations

from typing import Any

from ..lifecycle.states import FINAL, JobStatus
from .done import Done
from .perform import Ids, perform, text


def delete(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Delete jobs that have ended, with their attempts, progress and log lines, also if they are pinned."""
    return perform(
        "delete",
        ids,
        lambda storage, ids: storage.jobs.delete(ids),
        FINAL,
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def pin(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Keep jobs and their results beyond their retention. They can still be deleted by ``delete()``."""
    return perform(
        "pin",
        ids,
        lambda storage, ids: storage.jobs.pin(ids),
        tuple(JobStatus),
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def unpin(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Delete jobs again when their retention is over."""
    return perform(
        "unpin",
        ids,
        lambda storage, ids: storage.jobs.unpin(ids),
        tuple(JobStatus),
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]
