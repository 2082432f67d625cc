"""The one seam to the database, named by verbs."""

from functools import cache

from django.db import connections

from .base import Listener, Storage
from .values import Claim, ClaimedJob, LostJob

__all__ = ["Claim", "ClaimedJob", "Listener", "LostJob", "Storage", "storage_for"]


@cache
def storage_for(alias: str) -> Storage:
    """The storage of a database alias. The one place that asks which database it is."""
    match connections[alias].vendor:
        case "postgresql":
            from .postgresql import PostgreSQLStorage

            return PostgreSQLStorage(alias)
        case "sqlite":
            from .sqlite import SQLiteStorage

            return SQLiteStorage(alias)
        case "mysql":
            from .mysql import MySQLStorage

            return MySQLStorage(alias)
        case _:
            return Storage(alias)
