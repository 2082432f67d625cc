"""Arguments and results of a job as they are shown: masked, and behind a permission."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpRequest

from ..definition.sensitive import masked_arguments, secrets_of, sensitive_names
from ..payload import codec
from ..payload.masking import cleaned, masked, redacted
from . import formatting
from .base import may


class Payload(NamedTuple):
    """The arguments of one job with its secrets masked, and the secrets to remove from other texts."""

    args: list[Any]
    kwargs: dict[str, Any]
    secrets: set[str]

    @classmethod
    def of(cls, task_name: str, stored: str) -> Payload:
        try:
            args, kwargs = codec.load_arguments(stored)
        except ValueError:
            # Unreadable text cannot be masked, so that none of it is shown.
            return cls([formatting.unreadable(stored)] if stored else [], {}, set())
        return cls(*masked_arguments(task_name, args, kwargs), secrets_of(task_name, args, kwargs))

    def without_secrets(self, message: str, cut: int | None = None) -> str:
        """Return a message, a traceback or a log line with the secrets masked.

        ``cut`` is the length, in characters, to which the text was cut when it was stored or read.
        """
        return redacted(message, self.secrets, cut)


def is_open(request: HttpRequest) -> bool:
    """Return whether the user may see arguments, results, messages and tracebacks."""
    return may(request, "view_payload_job")


def stored_of(task_name: str, stored: str | None, payload: Payload) -> str:
    """Return a stored JSON value of a job as indented text, with the secrets masked."""
    try:
        value = None if stored is None else codec.loads(stored)
    except ValueError:
        return formatting.unreadable(stored or "")
    return formatting.pretty(cleaned(masked(value, sensitive_names(task_name)), payload.secrets))
