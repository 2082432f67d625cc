"""The parsers of bodies: strict JSON of limited size."""

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

#: How much larger than the arguments of a job a body may be, in bytes.
ENVELOPE = 16 * 1024


def largest_body() -> int:
    """Return the size in bytes. Escaped characters are longer in a body than in the database."""
    known = backend()
    return 2 * (known.settings.max_arguments_bytes if known else 256 * 1024) + ENVELOPE


class BodyRequest(Request):
    """A request whose body is read even if it has no length, such as a chunked one.

    Django and REST framework would treat such a body as empty.
    """

    def _load_stream(self) -> None:
        meta = self._request.META
        length, coding = meta.get("CONTENT_LENGTH") or "", meta.get("HTTP_TRANSFER_ENCODING") or ""
        self._stream: Any = None
        if length and (coding or not (length.isascii() and length.isdecimal())):
            raise ParseError(
                "A request with a body needs a number as Content-Length, or a Transfer-Encoding."
            )
        if length:
            super()._load_stream()  # type: ignore[misc]  # missing in the stubs
        elif body := self._unmeasured(bool(coding)):
            self._stream = BytesIO(body)

    def _unmeasured(self, is_coded: bool) -> bytes:
        """Return the body of a request without a length, cut off where it is too large.

        Raise LengthRequired if the server does not mark its end.
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
    """Strict JSON in UTF-8. Raise TooLarge without reading more than the limit."""

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
    """Raise ValueError for a name with half a surrogate pair, which a response could not contain."""
    found = dict(pairs)
    for name in found:
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"the name {name!a:.100} holds half a surrogate pair")
    return found
