"""What web processes do, for the nursery to fork."""

from __future__ import annotations

from django.db import transaction

from .tasks import quick


def enqueue(queue: str, count: int) -> None:
    """Enqueue some jobs in one transaction."""
    with transaction.atomic():
        for _ in range(count):
            quick.using(queue_name=queue).enqueue()
