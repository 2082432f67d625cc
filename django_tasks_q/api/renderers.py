"""The renderers of the API, independent of the project's settings for its own views."""

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
    """Return the renderer of JSON, and that of browsable pages if the project uses it for its own views."""
    default: Any = api_settings.DEFAULT_RENDERER_CLASSES
    found = [kind for kind in default if issubclass(kind, BrowsableAPIRenderer)]
    # The templates of the pages are in the app.
    return (JSON, *found) if apps.is_installed("rest_framework") else (JSON,)
