"""Tasks of a project that is set up in many ways."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django_tasks_q import task


@task(api=True, tags=["warehouse"])
def ship(order: int, weight: Decimal = Decimal("1.5"), at: datetime | None = None, note: str = "") -> str:
    """Ship an order."""
    return f"{order} {weight}"


@task(queue_name="mails", max_attempts=3, sensitive=["password"])
def mail(to: str, password: str = "", **more: Any) -> None:
    """Send a mail."""


@task
async def count(numbers: list[int]) -> int:
    """Add up."""
    return sum(numbers)
