"""Actions on workers: stop."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ..access import database
from ..models import Worker
from ..storage import storage_for
from .done import Done, Reason
from .perform import send_action_performed, text


def stop_worker(id: str | UUID, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Ask a worker to stop as by a first SIGTERM.

    The worker is notified at once where the database supports that, else it notices within ten seconds.
    """
    worker_id, alias = UUID(str(id)), using or database()
    storage = storage_for(alias)
    backend = storage.workers.stop(worker_id)
    if backend is not None:
        storage.notifications.notify_control(backend)
        send_action_performed(
            Worker, "stop_worker", {worker_id}, using=alias, user=user, reason=text(reason, "reason")
        )
        return Done({worker_id}, {})
    row = Worker.objects.using(alias).filter(id=worker_id).first()
    if row is None:
        why = Reason.GONE
    else:
        is_asked = row.stop_requested_at is not None and row.stopped_at is None
        why = Reason.UNCHANGED if is_asked else Reason.ENDED
    return Done(set(), {why: {worker_id}})
