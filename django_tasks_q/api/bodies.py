"""Bodies of requests: JSON, and no more of it than there may be."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from ..scope import backend
from .errors import TooLarge

#: What a body may have beside the arguments that fit a job, in bytes.
ENVELOPE = 16 * 1024


def largest_body() -> int:
    """In bytes. Escaped characters take more of them here than they take in the database."""
    known = backend()
    return 2 * (known.settings.max_arguments_bytes if known else 256 * 1024) + ENVELOPE


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
            return json.loads(data.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"JSON parse error - {error!s:.200}") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
