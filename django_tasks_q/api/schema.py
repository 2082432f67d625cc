"""The OpenAPI document of this API. Imported only where drf-spectacular is installed."""

from __future__ import annotations

from typing import Any

from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView

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
        "JobStatus": "django_tasks_q.states.JobStatus",
        "AttemptOutcome": "django_tasks_q.outcomes.AttemptOutcome",
    },
    "SCHEMA_PATH_PREFIX": r".*/v1",
}


class SchemaView(TasksView, SpectacularAPIView):
    """The OpenAPI document of this API."""

    renderer_classes: Any = (OpenApiJsonRenderer2, OpenApiYamlRenderer)
    custom_settings = SETTINGS
    serve_public = True
    schema: Any = None
    parameters = ("lang", "version")
