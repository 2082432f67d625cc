from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper


class Watched(CursorWrapper):
    def execute(self, sql: Any, params: Any = None) -> Any:
        return self.cursor.execute(sql, params)

    def executemany(self, sql: Any, param_list: Any) -> Any:
        return self.cursor.executemany(sql, param_list)


def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    return execute(sql, params, many, context)


def watch(connection: Any, **more: Any) -> None:
    if look not in connection.execute_wrappers:
        connection.execute_wrappers.append(look)
        make = connection.cursor
        connection.cursor = lambda *args, **kwargs: Watched(make(*args, **kwargs), connection)


class Watching(AppConfig):
    name = "tests.variety.watching"
    label = "watching"

    def ready(self) -> None:
        connection_created.connect(watch)
