"""The verbs through the ORM, for any database that Django knows."""

from __future__ import annotations

from ..contract import Storage


def orm_storage(alias: str) -> Storage:
    """Return the storage of a database of which nothing more is known."""
    from ..notifications import NoNotifications
    from ..session import Session
    from .jobs import Jobs
    from .maintenance import Maintenance
    from .progress import ProgressUpdates
    from .queues import Queues
    from .schedules import Schedules
    from .statistics import Statistics
    from .workers import Workers

    session = Session(alias)
    queues = Queues(session)
    return Storage(
        session=session,
        jobs=Jobs(session, queues),
        maintenance=Maintenance(session),
        workers=Workers(session),
        queues=queues,
        schedules=Schedules(session),
        progress=ProgressUpdates(session),
        statistics=Statistics(session),
        notifications=NoNotifications(session),
    )
