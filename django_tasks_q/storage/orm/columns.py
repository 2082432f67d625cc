"""The columns of jobs by the names of their fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...models import Job


def columns_of(quote: Callable[[str], str], names: Iterable[str]) -> list[str]:
    """Return the quoted columns of the job table that hold these fields."""
    column_of = {field.name: str(field.column) for field in Job._meta.concrete_fields}
    return [quote(column_of[name]) for name in names]
