"""What the API answers when it does not do what was asked: one shape, with codes that stay."""

from __future__ import annotations

import logging
from typing import Any

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

logger = logging.getLogger("django_tasks_q.api")


class Conflict(APIException):
    """What was asked for is not possible in the present state, which is told."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("This is not possible in the present state.")
    default_code = "conflict"

    def __init__(self, detail: Any = None, code: str | None = None, state: str | None = None) -> None:
        super().__init__(detail, code)
        self.state = state


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = _("This server takes no body that does not say how long it is: send Content-Length.")
    default_code = "length_required"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The body is too large.")
    default_code = "too_large"


class TooSlow(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("This takes the database too long. Ask for less, such as for a shorter time.")
    default_code = "too_slow"


class Unavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = _("The database does not answer. Try again later.")
    default_code = "unavailable"


#: Every code that an answer may have, with its HTTP status. Field errors (400) are told by field instead.
CODES = {
    "parse_error": 400,
    "not_authenticated": 401,
    "authentication_failed": 401,
    "permission_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "conflict": 409,
    "idempotency_conflict": 409,
    "length_required": 411,
    "too_large": 413,
    "unsupported_media_type": 415,
    "throttled": 429,
    "too_slow": 503,
    "unavailable": 503,
}


def handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's answers, with the error's code beside its sentence."""
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("The database did not answer a request: %s", error, exc_info=error)
        error = Unavailable()
    response = exception_handler(error, context)
    if response is None:
        return response
    if isinstance(error, ValidationError):
        response.data = _named(response.data)
        return response
    if isinstance(response.data, dict) and "detail" in response.data:
        response.data["code"] = getattr(response.data["detail"], "code", "error")
        if getattr(error, "state", None) is not None:
            response.data["status"] = error.state  # type: ignore[attr-defined]
    return response


def _named(data: Any) -> Any:
    """Errors of no field are under one name, whatever a project calls its own."""
    if isinstance(data, list):
        return [_named(each) for each in data]
    if not isinstance(data, dict):
        return data
    own = api_settings.NON_FIELD_ERRORS_KEY
    return {"non_field_errors" if name == own else name: _named(each) for name, each in data.items()}
