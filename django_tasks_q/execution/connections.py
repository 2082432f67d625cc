"""Leaves Django's database connections clean between two attempts."""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error, connections, reset_queries

logger = logging.getLogger("django_tasks_q.execution")


def clean_connections() -> None:
    """Undo what the last attempt left open, so that the next one starts from autocommit.

    Healthy connections stay, since the next job needs one at once; ``close_old_connections`` ends them
    when the process runs out of jobs.
    """
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        try:
            _clean(connection)
        except Error:
            connection.close()


def _clean(connection: Any) -> None:
    if connection.in_atomic_block or not connection.autocommit:
        connection.needs_rollback = connection.in_atomic_block = False
        connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
        logger.warning("A task left a transaction open on %r; rolled back.", connection.alias)
        connection.rollback()
        connection.set_autocommit(True)
    elif connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()
    connection.health_check_done = False  # where CONN_HEALTH_CHECKS asks for one, each job gets it
