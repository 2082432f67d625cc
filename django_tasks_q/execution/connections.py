"""Leaves Django's database connections clean between two attempts."""

import logging

from django.db import Error, connections, reset_queries

logger = logging.getLogger("django_tasks_q.execution")


def clean_connections() -> None:
    """Undo what the last attempt left open, so that the next one starts from autocommit.

    Healthy connections stay: the next job needs one at once. ``close_old_connections`` ends them when
    the process runs out of jobs.
    """
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        try:
            if connection.in_atomic_block or not connection.get_autocommit():
                logger.warning("A task left a transaction open on %r; rolled back.", connection.alias)
                connection.needs_rollback = connection.in_atomic_block = False
                connection.savepoint_ids, connection.atomic_blocks = [], []
                connection.run_on_commit = []
                connection.rollback()
                connection.set_autocommit(True)
            if connection.errors_occurred:
                connection.close_if_unusable_or_obsolete()
        except Error:
            connection.close()
