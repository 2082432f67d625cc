"""PostgreSQL: the hot verbs as single statements, and notifications by LISTEN and NOTIFY."""

from ..composition import composed
from ..contract import Storage
from ..orm.queues import Queues
from .jobs import PostgreSQLJobs
from .maintenance import PostgreSQLMaintenance
from .notifications import PostgreSQLNotifications
from .session import PostgreSQLSession


class PostgreSQLQueues(Queues):
    queue_source = "SELECT * FROM unnest(%s::text[], %s::text[])"


def postgresql_storage(alias: str) -> Storage:
    """Return the storage of a PostgreSQL database."""
    return composed(
        PostgreSQLSession(alias),
        jobs=PostgreSQLJobs,
        maintenance=PostgreSQLMaintenance,
        queues=PostgreSQLQueues,
        notifications=PostgreSQLNotifications,
    )
