"""Verbs for what is kept, and for how long."""

from __future__ import annotations

from typing import Any

from ..lifecycle.states import FINAL, JobStatus
from .done import Done
from .perform import Ids, perform, text


def delete(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Delete jobs that have ended, pinned ones too, with their attempts, progress and log lines."""
    return perform(
        "delete",
        ids,
        lambda storage, ids: storage.delete(ids),
        FINAL,
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def pin(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Keep jobs and their results, however long ago they ended. They still can be deleted by hand."""
    return perform(
        "pin",
        ids,
        lambda storage, ids: storage.pin(ids),
        tuple(JobStatus),
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def unpin(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Let jobs go when their retention is over."""
    return perform(
        "unpin",
        ids,
        lambda storage, ids: storage.unpin(ids),
        tuple(JobStatus),
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]
