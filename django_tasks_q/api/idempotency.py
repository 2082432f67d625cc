"""Idempotency keys: a request to enqueue that is repeated or sent twice enqueues one job."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from ..access import database
from ..models import IdempotencyKey
from .errors import Conflict

HEADER = "Idempotency-Key"
MAX_KEY = 255
#: The parameter of the header in the schema.
KEY = (
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "header",
    _("Up to 255 printable characters. Requests with the same key return the same job."),
)


class Keys:
    """The key of a request, and a transaction in which the key and the job are stored together.

    Raise ValidationError for a malformed key.
    """

    def __init__(self, request: Request, task_name: str, body: Any) -> None:
        key = request.headers.get(HEADER)
        if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
            raise ValidationError({HEADER: [_("Must be 1 to 255 printable characters.")]})
        self._key = key
        if key is not None:
            # Some authentication classes have users without a primary key.
            self._owner = str(getattr(request.user, "pk", None) or request.user)[:255]
            text = json.dumps([task_name, body], sort_keys=True)
            self._digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self._alias = database()
        self._stack = ExitStack()
        self._row: IdempotencyKey | None = None

    def __enter__(self) -> Self:
        if self._key is not None:
            self._stack.enter_context(transaction.atomic(using=self._alias))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, frames)

    def replayed(self) -> str | None:
        """Return the id of the job that was enqueued with this key, even if it has been deleted, else None.

        Wait for a concurrent request with the same key. Raise Conflict if the key was used with another body.
        """
        if self._key is None:
            return None
        known = self._known()
        if known is None:
            try:
                with transaction.atomic(using=self._alias):
                    self._row = IdempotencyKey.objects.using(self._alias).create(
                        owner=self._owner,
                        key=self._key,
                        digest=self._digest,
                        created_at=timezone.now(),
                    )
                    return None
            except IntegrityError:
                known = self._known()
        if known is None or known.job_id is None:
            raise Conflict(_("A request with this key is under way."), "idempotency_conflict")
        if known.digest != self._digest:
            raise Conflict(_("This key was used for another request."), "idempotency_conflict")
        return str(known.job_id)

    def keep(self, id: str) -> str:
        """Store the id of the job that this request has enqueued, and return it."""
        if self._row is not None:
            IdempotencyKey.objects.using(self._alias).filter(pk=self._row.pk).update(job_id=id)
        return id

    def _known(self) -> IdempotencyKey | None:
        rows = IdempotencyKey.objects.using(self._alias)
        return rows.filter(owner=self._owner, key=self._key).first()
