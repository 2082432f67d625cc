"""ENGINE = "tests.pooling": PostgreSQL by way of a pool in a module, which a fork copies."""

from typing import Any

from django.db.backends.postgresql import base

_idle: list[Any] = []


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return _idle.pop() if _idle else super().get_new_connection(conn_params)

    def _close(self) -> None:
        if self.connection is not None:
            _idle.append(self.connection)
