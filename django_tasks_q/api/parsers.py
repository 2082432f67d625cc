"""Bodies of requests: JSON, and no more of it than there may be."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from ..access import backend
from .errors import LengthRequired, TooLarge

#: What a body may have beside the arguments that fit a job, in bytes.
ENVELOPE = 16 * 1024


def largest_body() -> int:
    """In bytes. Escaped characters take more of them here than they take in the database."""
    known = backend()
    return 2 * (known.settings.max_arguments_bytes if known else 256 * 1024) + ENVELOPE


class BodyRequest(Request):
    """A request whose body is read though it does not say how long it is, as chunked ones do not.

    Django and REST framework take such a body for none at all.
    """

    def _load_stream(self) -> None:
        meta = self._request.META
        length, coding = meta.get("CONTENT_LENGTH") or "", meta.get("HTTP_TRANSFER_ENCODING") or ""
        self._stream: Any = None
        if length and (coding or not (length.isascii() and length.isdecimal())):
            raise ParseError("A body has a number as its Content-Length, or a Transfer-Encoding.")
        if length:
            super()._load_stream()  # type: ignore[misc]  # the stubs leave it out
        elif body := self._unmeasured(bool(coding)):
            self._stream = BytesIO(body)

    def _unmeasured(self, is_coded: bool) -> bytes:
        """The body of a request without a length, cut where it is too large.

        Raises LengthRequired where the server does not tell where it ends.
        """
        meta = self._request.META
        if isinstance(self._request, ASGIRequest):
            stream: Any = self._request
        elif meta.get("wsgi.input_terminated"):
            stream = meta["wsgi.input"]
        elif is_coded:
            raise LengthRequired
        else:
            return b""
        body: bytes = stream.read(largest_body() + 1)
        return body


class JSONBody(BaseParser):
    """Strict JSON in UTF-8. Raises TooLarge before it has read more than it would take."""

    media_type = "application/json"
    renderer_class = JSONRenderer

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        limit = largest_body()
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise TooLarge
        try:
            return json.loads(data.decode(), parse_constant=_refuse, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"JSON parse error - {error!s:.200}") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that is no text, which an answer could not repeat."""
    found = dict(pairs)
    for name in found:
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"the name {name!a:.100} holds half a surrogate pair")
    return found
