"""What the templates of the admin ask for."""

from __future__ import annotations

from django import template
from django.template import RequestContext

register = template.Library()


@register.simple_tag(takes_context=True)
def tasks_may(context: RequestContext, codename: str) -> bool:
    """Whether the user has one of our permissions, as the screens ask for it."""
    # Not at the top: Django imports this also in projects without the admin.
    from ..admin.base import may

    return may(context.request, codename)
