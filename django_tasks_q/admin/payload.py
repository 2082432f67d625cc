"""What a job was given and what became of it, for those who may see that, and without secrets."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest

from ..masking import cleaned, masked, masked_arguments, redacted, secrets_of, sensitive_names
from . import text
from .base import may


class Payload(NamedTuple):
    """Of one job. Secrets are masked, and taken out of what others wrote about it."""

    args: list[Any]
    kwargs: dict[str, Any]
    secrets: set[str]

    @classmethod
    def of(cls, task_name: str, stored: str) -> Payload:
        value = text.parsed(stored)
        match value:
            case [list() as args, dict() as kwargs]:
                shown = masked_arguments(task_name, args, kwargs)
                return cls(*shown, secrets_of(task_name, args, kwargs))
        return cls([value] if value != "" else [], {}, set())

    def told(self, message: str) -> str:
        """A message, a traceback or a log line, as it may be shown."""
        return redacted(message, self.secrets)


def is_open(request: HttpRequest) -> bool:
    """Whether the user may see arguments, results, messages and tracebacks."""
    return may(request, "view_payload_job")


def stored_of(task_name: str, stored: str | None, payload: Payload) -> str:
    """A stored value of a job, laid out without its secrets."""
    value = masked(text.parsed(stored), sensitive_names(task_name))
    return text.pretty(cleaned(value, payload.secrets))
