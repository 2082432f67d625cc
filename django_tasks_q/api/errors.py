"""The errors of the API: they all have the same form, and stable codes."""

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
    """The request is not possible in the present state of the object, which the response contains."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = _("This is not possible in the present state.")
    default_code = "conflict"

    def __init__(self, detail: Any = None, code: str | None = None, state: str | None = None) -> None:
        super().__init__(detail, code)
        self.state = state


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = _("This server accepts no body of unknown length: send Content-Length.")
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


#: The codes of errors, with their HTTP statuses. Errors of fields (400) are listed by field instead.
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
    """Return the response for an error: that of REST framework, plus the code of the error."""
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("A request failed, since the database cannot be used: %s", error, exc_info=error)
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
    """Return errors with a fixed name for those of no field, whatever the name in the project's settings."""
    if isinstance(data, list):
        return [_named(each) for each in data]
    if not isinstance(data, dict):
        return data
    own = api_settings.NON_FIELD_ERRORS_KEY
    return {"non_field_errors" if name == own else name: _named(each) for name, each in data.items()}
