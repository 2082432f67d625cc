"""What a job was given and what became of it, for those who may see that, and without secrets."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest

from ..definition.sensitive import masked_arguments, secrets_of, sensitive_names
from ..payload import codec
from ..payload.masking import cleaned, masked, redacted
from . import formatting
from .base import may


class Payload(NamedTuple):
    """Of one job. Secrets are masked, and taken out of what others wrote about it."""

    args: list[Any]
    kwargs: dict[str, Any]
    secrets: set[str]

    @classmethod
    def of(cls, task_name: str, stored: str) -> Payload:
        try:
            args, kwargs = codec.load_arguments(stored)
        except ValueError:
            # Nobody can tell what in it is secret.
            return cls([formatting.unreadable(stored)] if stored else [], {}, set())
        return cls(*masked_arguments(task_name, args, kwargs), secrets_of(task_name, args, kwargs))

    def told(self, message: str, cut: int | None = None) -> str:
        """A message, a traceback or a log line, as it may be shown; ``cut`` is how long it was let be."""
        return redacted(message, self.secrets, cut)


def is_open(request: HttpRequest) -> bool:
    """Whether the user may see arguments, results, messages and tracebacks."""
    return may(request, "view_payload_job")


def stored_of(task_name: str, stored: str | None, payload: Payload) -> str:
    """A stored value of a job, laid out without its secrets."""
    try:
        value = None if stored is None else codec.loads(stored)
    except ValueError:
        return formatting.unreadable(stored or "")
    return formatting.pretty(cleaned(masked(value, sensitive_names(task_name)), payload.secrets))
