"""Template tags of the admin."""

from __future__ import annotations

from django import template
from django.template import RequestContext

register = template.Library()


@register.simple_tag(takes_context=True)
def tasks_may(context: RequestContext, codename: str) -> bool:
    """Return whether the user has a permission of this package, as ``admin.base.may()`` does."""
    # Imported here: Django loads this module in projects without the admin too.
    from ..admin.base import may

    return may(context.request, codename)
