"""What answers look like, whatever a project has set for its own views."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.settings import api_settings


class JSON(JSONRenderer):
    """Compact JSON in UTF-8."""

    compact = True
    ensure_ascii = False
    strict = True


def renderers() -> tuple[Any, ...]:
    """Return JSON, and the browsable pages if the project has them for its own views."""
    default: Any = api_settings.DEFAULT_RENDERER_CLASSES
    found = [kind for kind in default if issubclass(kind, BrowsableAPIRenderer)]
    # Their templates are in the app.
    return (JSON, *found) if apps.is_installed("rest_framework") else (JSON,)
