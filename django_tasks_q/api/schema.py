"""The OpenAPI document of this API. Imported only where drf-spectacular is installed."""

from __future__ import annotations

from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver
from django.urls import get_script_prefix
from django.utils.translation import get_language
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from .. import __version__
from .base import TasksView

SETTINGS: dict[str, Any] = {
    "TITLE": "django-tasks-q",
    "DESCRIPTION": "Jobs, queues, workers and tasks.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",
    "PREPROCESSING_HOOKS": ["django_tasks_q.api.openapi.only_ours"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "django_tasks_q.api.openapi.closed",
    ],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "JobStatus": "django_tasks_q.lifecycle.states.JobStatus",
        "AttemptOutcome": "django_tasks_q.lifecycle.outcome.AttemptOutcome",
    },
    "SCHEMA_PATH_PREFIX": r".*/v1",
}


#: Documents by everything that they depend on. They are the same for all users.
_made: dict[Any, Any] = {}


@receiver(setting_changed, dispatch_uid="django_tasks_q.schema")
def _forget(**more: Any) -> None:
    _made.clear()


class SchemaView(TasksView, SpectacularAPIView):
    """The OpenAPI document of this API."""

    renderer_classes: Any = (OpenApiJsonRenderer2, OpenApiYamlRenderer)
    custom_settings = SETTINGS
    serve_public = True
    schema: Any = None
    parameters = ("lang", "version")

    def _get_schema_response(self, request: Request) -> Response:
        if request.query_params.get("version"):
            return self._made(request)
        key = (get_language(), getattr(request, "urlconf", None), get_script_prefix(), request.version)
        if key not in _made:
            _made[key] = self._made(request).data
        return Response(_made[key])

    def _made(self, request: Request) -> Response:
        made: Response = super()._get_schema_response(request)  # type: ignore[no-untyped-call]
        return made
