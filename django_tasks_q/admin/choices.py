"""The choices of filters, from settings and registered tasks, without a query."""

from __future__ import annotations

from typing import Any

from ..definition.registry import registry


def known_queues() -> list[str]:
    """Return the queues that settings or registered tasks name."""
    return sorted({queue for _, queue in known_queues_of_backends()})


def known_queues_of_backends() -> list[tuple[str, str]]:
    """Return the same queues as pairs of a backend's alias and a queue's name."""
    queues = {(task.backend, task.queue_name) for task in registry}
    backends = _backends()
    for backend in backends.values():
        queues.update((backend.alias, queue) for queue in backend.queues)
    return sorted(pair for pair in queues if pair[0] in backends)


def database_backends() -> list[str]:
    """Return the aliases of the settings that name a ``DatabaseBackend``."""
    return sorted(_backends())


def _backends() -> dict[str, Any]:
    from .. import compat
    from ..backends import DatabaseBackend

    found = compat.task_backends.all()
    return {backend.alias: backend for backend in found if isinstance(backend, DatabaseBackend)}


def known_tasks() -> list[str]:
    """Return the task names that stored jobs may have."""
    return registry.names()


def known_tags() -> list[str]:
    """Return the tags of registered tasks."""
    return sorted({tag for task in registry for tag in task.tags})
