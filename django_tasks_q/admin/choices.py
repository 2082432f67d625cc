"""What filters offer, from settings and registered tasks: it costs no query."""

from __future__ import annotations

from typing import Any

from ..definition.registry import registry


def known_queues() -> list[str]:
    """The queues that settings or registered tasks name."""
    return sorted({queue for _, queue in known_queues_of_backends()})


def known_queues_of_backends() -> list[tuple[str, str]]:
    """The same with the backend that each belongs to."""
    queues = {(task.backend, task.queue_name) for task in registry}
    ours = _backends()
    for backend in ours.values():
        queues.update((backend.alias, queue) for queue in backend.queues)
    return sorted(pair for pair in queues if pair[0] in ours)


def our_backends() -> list[str]:
    """The aliases of the settings that name one of our backends."""
    return sorted(_backends())


def _backends() -> dict[str, Any]:
    from .. import compat
    from ..backends import DatabaseBackend

    found = compat.task_backends.all()
    return {backend.alias: backend for backend in found if isinstance(backend, DatabaseBackend)}


def known_tasks() -> list[str]:
    """The names that stored jobs may have."""
    return registry.names()


def known_tags() -> list[str]:
    """The tags of registered tasks."""
    return sorted({tag for task in registry for tag in task.tags})
