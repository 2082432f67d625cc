"""Puts the parts of a storage together: those of the ORM, except where a database has its own."""

from __future__ import annotations

from .contract import Storage
from .notifications import NoNotifications
from .orm.jobs import Jobs
from .orm.maintenance import Maintenance
from .orm.progress import ProgressUpdates
from .orm.queues import Queues
from .orm.schedules import Schedules
from .orm.statistics import Statistics
from .orm.workers import Workers
from .session import Session


def composed(
    session: Session,
    *,
    jobs: type[Jobs] = Jobs,
    maintenance: type[Maintenance] = Maintenance,
    workers: type[Workers] = Workers,
    queues: type[Queues] = Queues,
    statistics: type[Statistics] = Statistics,
    notifications: type[NoNotifications] = NoNotifications,
) -> Storage:
    """Return the storage whose parts share a session. Each argument is the class of a part."""
    part_of_queues = queues(session)
    return Storage(
        session=session,
        jobs=jobs(session, part_of_queues),
        maintenance=maintenance(session),
        workers=workers(session),
        queues=part_of_queues,
        schedules=Schedules(session),
        progress=ProgressUpdates(session),
        statistics=statistics(session),
        notifications=notifications(session),
    )
