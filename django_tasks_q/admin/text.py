"""Stored values as text on a page. All of it is escaped: the page's markup is only in this module."""

from __future__ import annotations

import json

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import codec

#: Characters that are shown of one value; laying JSON out multiplies what is nested in it.
MAX_SHOWN = 20_000


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a page."""
    hidden = len(text) - MAX_SHOWN
    if hidden <= 0:
        return text
    more = ngettext("%(count)s more character", "%(count)s more characters", hidden)
    return f"{text[:MAX_SHOWN]}\n… {more % {'count': f'{hidden:,}'}}"


def json_block(stored: str, *path: int) -> SafeString:
    """Stored JSON, or the item of it that ``path`` leads to, over several lines.

    What is no JSON is shown as it is, what is too long in one piece and cut.
    """
    try:
        value = codec.loads(stored)
        for key in path:
            value = value[key]
    except (LookupError, TypeError, ValueError):
        return block(shortened(stored))
    flat = json.dumps(value, ensure_ascii=False)
    return block(
        shortened(flat) if len(flat) > MAX_SHOWN else json.dumps(value, indent=2, ensure_ascii=False)
    )


def block(text: str) -> SafeString:
    """Text with its line breaks and spaces kept."""
    return format_html('<pre class="tasks-block">{}</pre>', text)


def folded(summary: str, text: str) -> SafeString:
    """A block that opens on a click."""
    return format_html("<details><summary>{}</summary>{}</details>", summary, block(text))


def badge(label: str, kind: str) -> SafeString:
    """A label in the colour of its kind."""
    return format_html('<span class="tasks-badge tasks-{}">{}</span>', kind, label)


def duration(seconds: float) -> str:
    """A length of time to three digits, in the unit that fits it."""
    if seconds < 1:
        return _("%(number)s ms") % {"number": f"{seconds * 1000:.3g}"}
    if seconds < 60:
        return _("%(number)s s") % {"number": f"{seconds:.3g}"}
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
