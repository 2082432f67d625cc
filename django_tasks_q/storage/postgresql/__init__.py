"""PostgreSQL: the hot verbs as single statements, and notifications by LISTEN and NOTIFY."""

from ..contract import Storage
from ..orm.progress import ProgressUpdates
from ..orm.queues import Queues
from ..orm.schedules import Schedules
from ..orm.statistics import Statistics
from ..orm.workers import Workers
from .jobs import PostgreSQLJobs
from .maintenance import PostgreSQLMaintenance
from .notifications import PostgreSQLNotifications
from .session import PostgreSQLSession


class PostgreSQLQueues(Queues):
    queue_source = "SELECT * FROM unnest(%s::text[], %s::text[])"


def postgresql_storage(alias: str) -> Storage:
    """Return the storage of a PostgreSQL database."""
    session = PostgreSQLSession(alias)
    queues = PostgreSQLQueues(session)
    return Storage(
        session=session,
        jobs=PostgreSQLJobs(session, queues),
        maintenance=PostgreSQLMaintenance(session),
        workers=Workers(session),
        queues=queues,
        schedules=Schedules(session),
        progress=ProgressUpdates(session),
        statistics=Statistics(session),
        notifications=PostgreSQLNotifications(session),
    )
