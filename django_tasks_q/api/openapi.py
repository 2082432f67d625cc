"""The OpenAPI schema of these views, where drf-spectacular is installed; else nothing of it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

Decorated = TypeVar("Decorated")

try:
    import drf_spectacular
except ImportError:
    HAS_SCHEMA = False
else:
    HAS_SCHEMA = bool(drf_spectacular)

if TYPE_CHECKING or HAS_SCHEMA:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import (
        OpenApiParameter,
        OpenApiResponse,
        extend_schema,
        extend_schema_field,
    )


class ErrorSerializer(serializers.Serializer[Any]):
    """What all errors but those of fields look like."""

    detail = serializers.CharField(help_text=_("A sentence for people."))
    code = serializers.CharField(help_text=_("A stable code for programs."))
    status = serializers.CharField(required=False, help_text=_("With a conflict: the present state."))


#: What goes wrong at every path; what one path adds is named there.
COMMON_ERRORS = (400, 401, 403, 404, 406, 429)


def view_schema() -> Any:
    """The ``schema`` of our views, whatever the project's DEFAULT_SCHEMA_CLASS is."""
    return AutoSchema() if HAS_SCHEMA else None


def described(
    operation_id: str,
    *,
    request: Any = None,
    responses: dict[int, Any] | None = None,
    errors: tuple[int, ...] = (),
    parameters: tuple[tuple[str, Any, Any, Any], ...] = (),
    tag: str,
) -> Callable[[Decorated], Decorated]:
    """Describe a view's method in the schema. ``parameters`` are name, type, place, and what it is."""
    if not HAS_SCHEMA:
        return lambda method: method
    error = OpenApiResponse(ErrorSerializer, description=_("What went wrong, under a stable code."))
    answers: dict[Any, Any] = dict.fromkeys((*COMMON_ERRORS, *errors), error)
    answers[400] = OpenApiResponse(
        {"type": "object", "additionalProperties": {}},
        description=_("Sentences by the field or parameter that is wrong, or what is wrong with all of it."),
    )
    extended: Any = extend_schema(
        operation_id=operation_id,
        tags=[tag],
        request=request,
        responses=answers | (responses or {}),
        parameters=[
            OpenApiParameter(name, type_, place, description=text, required=place == "path")
            for name, type_, place, text in parameters
        ],
    )

    def describe(method: Any) -> Any:
        # What it extends would else be the project's DEFAULT_SCHEMA_CLASS, of whatever package.
        method.kwargs = {"schema": AutoSchema}
        return extended(method)

    return describe


def typed(type_: Any) -> Callable[[Decorated], Decorated]:
    """Tell the schema what a computed field is."""
    if not HAS_SCHEMA:
        return lambda field: field
    extended: Any = extend_schema_field(type_)
    return extended  # type: ignore[no-any-return]


def only_ours(endpoints: list[tuple[str, str, str, Any]], **kwargs: Any) -> list[tuple[str, str, str, Any]]:
    """Preprocessing hook: return the endpoints of this API, out of those of the whole project."""
    package = __name__.rpartition(".")[0] + "."
    return [endpoint for endpoint in endpoints if endpoint[3].cls.__module__.startswith(package)]


def closed(result: Any, **kwargs: Any) -> Any:
    """A postprocessing hook: bodies have no fields but those that are named."""
    for name, component in result["components"].get("schemas", {}).items():
        if name.endswith("Request") and component.get("type") == "object":
            component["additionalProperties"] = False
            for field in component.get("properties", {}).values():
                if field.get("type") == "string" and "format" not in field:
                    field.setdefault("pattern", "^[^\\x00]*$")  # no database takes it
        if name.endswith("ChangeRequest"):
            # One of the two. Generators of clients make nothing of an "anyOf" here.
            component |= {"if": {"not": {"required": ["priority"]}}, "then": {"required": ["queue"]}}
        if name == "FilterRequest":
            component |= {"minProperties": 1, "dependentRequired": {"tag": ["enqueued_after"]}}
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody", {"content": {}})
            for content in body["content"].values():
                if content["schema"].get("$ref", "").endswith("/ChangeRequest"):
                    body["required"] = True  # though neither of the two is
    return result


__all__ = ["HAS_SCHEMA", "closed", "described", "only_ours", "typed", "view_schema"]
