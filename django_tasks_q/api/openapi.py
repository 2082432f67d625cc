"""The OpenAPI schema of the views. Without drf-spectacular there is none, and the views work."""

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
    """The errors that are not about fields."""

    detail = serializers.CharField(help_text=_("A sentence for people."))
    code = serializers.CharField(help_text=_("A stable code for programs."))
    status = serializers.CharField(required=False, help_text=_("With a conflict: the present state."))


#: The errors of all paths. Further errors are named at each path.
COMMON_ERRORS = (400, 401, 403, 404, 406, 429)


def view_schema() -> Any:
    """Return the ``schema`` of the views, independent of the project's DEFAULT_SCHEMA_CLASS."""
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
    """Describe a method of a view in the schema. ``parameters`` are name, type, place and description."""
    if not HAS_SCHEMA:
        return lambda method: method
    error = OpenApiResponse(ErrorSerializer, description=_("What went wrong, under a stable code."))
    descriptions: dict[Any, Any] = dict.fromkeys((*COMMON_ERRORS, *errors), error)
    descriptions[400] = OpenApiResponse(
        {"type": "object", "additionalProperties": {}},
        description=_("Messages by field or parameter, or about the request as a whole."),
    )
    extended: Any = extend_schema(
        operation_id=operation_id,
        tags=[tag],
        request=request,
        responses=descriptions | (responses or {}),
        parameters=[
            OpenApiParameter(name, type_, place, description=text, required=place == "path")
            for name, type_, place, text in parameters
        ],
    )

    def describe(method: Any) -> Any:
        # Otherwise it would extend the project's DEFAULT_SCHEMA_CLASS, which may be of another package.
        method.kwargs = {"schema": AutoSchema}
        return extended(method)

    return describe


def typed(type_: Any) -> Callable[[Decorated], Decorated]:
    """Give the schema the type of a field."""
    if not HAS_SCHEMA:
        return lambda field: field
    extended: Any = extend_schema_field(type_)
    return extended  # type: ignore[no-any-return]


def only_ours(endpoints: list[tuple[str, str, str, Any]], **kwargs: Any) -> list[tuple[str, str, str, Any]]:
    """Preprocessing hook: return the endpoints of this API, out of those of the whole project."""
    package = __name__.rpartition(".")[0] + "."
    return [endpoint for endpoint in endpoints if endpoint[3].cls.__module__.startswith(package)]


def closed(result: Any, **kwargs: Any) -> Any:
    """Postprocessing hook: describe that bodies have no other fields, and rules between fields."""
    for name, component in result["components"].get("schemas", {}).items():
        if name.endswith("Request") and component.get("type") == "object":
            component["additionalProperties"] = False
            for field in component.get("properties", {}).values():
                if field.get("type") == "string" and "format" not in field:
                    field.setdefault("pattern", "^[^\\x00]*$")  # databases refuse NUL
        if name.endswith("ChangeRequest"):
            # At least one of the two. Generators of clients do not understand an "anyOf" here.
            component |= {"if": {"not": {"required": ["priority"]}}, "then": {"required": ["queue"]}}
        if name == "FilterRequest":
            component |= {"minProperties": 1, "dependentRequired": {"tag": ["enqueued_after"]}}
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody", {"content": {}})
            for content in body["content"].values():
                if content["schema"].get("$ref", "").endswith("/ChangeRequest"):
                    body["required"] = True  # although each of the two fields is optional
    return result


__all__ = ["HAS_SCHEMA", "closed", "described", "only_ours", "typed", "view_schema"]
