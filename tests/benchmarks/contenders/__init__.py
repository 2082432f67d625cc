"""Who is compared, one file each."""

from . import celery, django_ox, django_tasks_db, dramatiq, huey, pgqueuer, procrastinate
from .base import Contender

PEERS: tuple[Contender, ...] = (
    django_tasks_db.DJANGO_TASKS_DB,
    django_tasks_db.ON_SQLITE,
    django_ox.DJANGO_OX,
    procrastinate.PROCRASTINATE,
    pgqueuer.PGQUEUER,
    celery.CELERY,
    dramatiq.DRAMATIQ,
    huey.HUEY,
)
