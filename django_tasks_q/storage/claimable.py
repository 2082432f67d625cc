"""Which jobs a worker may claim, and in which order: declared once, for the ORM and for SQL.

Claims, the search for work, lists of ready jobs and counts of queues all take both from here.
``tests/test_claimable.py`` holds the two forms of the condition equal.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q
from django.db.models.expressions import Combinable

from ..lifecycle.states import JobStatus
from ..models.job import CLAIM_ORDER
from .values import Claim, ClaimedJob

#: The order of a claim, as an ORDER BY clause has it.
ORDER = ", ".join(f"{term[1:]} DESC" if term.startswith("-") else term for term in CLAIM_ORDER)


def order_of(table: str) -> str:
    """Return the order of a claim as SQL, with its columns taken from ``table``."""
    return ", ".join(f"{table}.{term}" for term in ORDER.split(", "))


def sort_key(job: ClaimedJob) -> tuple[int, int]:
    """Return the sort key that puts claimed jobs in the order of a claim."""
    return -job.priority, job.id.int


#: What a claim requires of a row, beside its queue, as SQL. The parameters are ``backend`` and ``names``.
CONDITION = f"""status = '{JobStatus.READY.value}' AND backend = %(backend)s
          AND task_name = ANY(%(names)s::text[])
          AND (expires_at IS NULL OR expires_at > STATEMENT_TIMESTAMP())"""


def condition(claim: Claim, now: Combinable | datetime) -> Q:
    """Return what a claim requires of a row as a Q object, beside that it is ready.

    ``now`` is the time of the database.
    """
    terms = Q(Q(expires_at__isnull=True) | Q(expires_at__gt=now), backend=claim.backend)
    terms &= Q(task_name__in=claim.task_names)
    if claim.queues:
        terms &= Q(queue_name__in=claim.queues)
    if claim.exclude_queues:
        terms &= ~Q(queue_name__in=claim.exclude_queues)
    return terms


def serves(queue: str, queues: Collection[str], exclude_queues: Collection[str]) -> bool:
    """Return whether a worker of ``queues``, where empty means all, without some of them, claims from one."""
    return (not queues or queue in queues) and queue not in exclude_queues
