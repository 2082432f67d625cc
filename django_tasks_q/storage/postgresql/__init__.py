"""PostgreSQL: the hot verbs as single statements, and wake-up hints by LISTEN and NOTIFY."""

from .storage import PostgreSQLStorage

__all__ = ["PostgreSQLStorage"]
