"""PostgreSQL's verbs of maintenance: a slice of jobs by one statement."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...failpoints import failpoint
from ...lifecycle.states import FINAL, JobStatus
from ..orm.maintenance import Maintenance
from ..orm.operations import has_foreign_parts
from ..session import repeated
from .arrays import array
from .session import PostgreSQLSession


class PostgreSQLMaintenance(Maintenance):
    session: PostgreSQLSession

    @repeated
    def promote(self, backend: str, limit: int = 1000) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(self.session.sql["PROMOTE"], {"backend": backend, "limit": limit})
            return int(cursor.rowcount)

    @repeated
    def prune(
        self, backend: str, statuses: Collection[JobStatus], older_than: float, limit: int = 500
    ) -> int:
        if has_foreign_parts():
            return super().prune(backend, statuses, older_than, limit)
        ended = array(sorted(FINAL.intersection(statuses)))
        return self._pruned("PRUNE", backend=backend, seconds=older_than, limit=limit, statuses=ended)

    @repeated
    def prune_retained(self, backend: str, retention: float, limit: int = 500) -> int:
        if has_foreign_parts():
            return super().prune_retained(backend, retention, limit)
        return self._pruned("PRUNE_RETAINED", backend=backend, seconds=retention, limit=limit)

    def _pruned(self, name: str, **values: Any) -> int:
        failpoint("prune.selected")
        with self.session.prepared.cursor() as cursor:
            self.session.prepared.execute(cursor, self.session.sql[name], values)
            return int(cursor.rowcount)
