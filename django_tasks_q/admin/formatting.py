"""Format values for pages. Everything is escaped; only this module makes markup in Python."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import Job
from ..storage.timestamps import local as in_local_time

#: The most characters that are shown of one value. Nested JSON grows when it is indented.
MAX_SHOWN = 20_000


def shortened(text: str) -> str:
    """Return the text, cut to ``MAX_SHOWN`` characters."""
    hidden = len(text) - MAX_SHOWN
    if hidden <= 0:
        return text
    more = ngettext("%(count)s more character", "%(count)s more characters", hidden)
    return f"{text[:MAX_SHOWN]}\n… {more % {'count': f'{hidden:,}'}}"


def pretty(value: Any) -> str:
    """Return a JSON value indented; a value that is too long on one line, and cut."""
    flat = json.dumps(value, ensure_ascii=False)
    return shortened(flat) if len(flat) > MAX_SHOWN else json.dumps(value, indent=2, ensure_ascii=False)


def unreadable(stored: str) -> str:
    """Return the text that is shown in place of stored text that is no JSON: its secrets cannot be masked."""
    shape = ngettext(
        "This value cannot be read: %(count)s character of invalid data.",
        "This value cannot be read: %(count)s characters of invalid data.",
        len(stored),
    )
    return shape % {"count": f"{len(stored):,}"}


def preview(args: list[Any], kwargs: dict[str, Any], maximum: int = 90) -> str:
    """Return arguments on one line, as in a call."""
    shown = [json.dumps(value, ensure_ascii=False) for value in args]
    shown += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in kwargs.items()]
    line = ", ".join(shown)
    return line if len(line) <= maximum else f"{line[:maximum]}…"


def block(text: str) -> SafeString:
    """Return text that keeps its line breaks and spaces."""
    return format_html('<pre class="tasks-block">{}</pre>', text)


def folded(summary: str, text: str) -> SafeString:
    """Return a collapsed block."""
    return format_html("<details><summary>{}</summary>{}</details>", summary, block(text))


def badge(label: str, kind: str) -> SafeString:
    """Return a label in the colour of ``kind``."""
    return format_html('<span class="tasks-badge tasks-{}">{}</span>', kind, label)


def state_label(job: Job) -> str:
    """Return the label of a job's state."""
    if job.is_retrying:
        return _("Retrying")
    if job.status == "RUNNING" and job.cancel_requested_at:
        return _("Cancelling")
    return str(job.get_status_display())


def state(job: Job) -> SafeString:
    """Return a job's state as a badge."""
    return badge(state_label(job), "retrying" if job.is_retrying else job.status.lower())


def timestamp(value: datetime) -> SafeString:
    """Return a local time as a ``time`` element."""
    local = in_local_time(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        local.isoformat(sep=" ", timespec="milliseconds"),
        f"{date_format(local, 'SHORT_DATE_FORMAT')} {date_format(local, 'H:i:s')}",
    )


def timestamp_text(value: datetime) -> str:
    """Return a local time as text without markup, for titles."""
    local = in_local_time(value)
    return f"{date_format(local, 'SHORT_DATE_FORMAT')} {date_format(local, 'H:i:s')}"


def since(value: datetime) -> SafeString:
    """Return the distance of a time from now, such as "5 min ago", with the time itself as a title."""
    seconds = (timezone.now() - value).total_seconds()
    local = in_local_time(value)
    shape = _("%(time)s ago") if seconds >= 0 else _("in %(time)s")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        date_format(local, "DATETIME_FORMAT"),
        shape % {"time": roughly(abs(seconds))},
    )


def roughly(seconds: float) -> str:
    """Return a duration, given in seconds, in its largest unit."""
    if seconds < 1:
        return _("%(number)s s") % {"number": f"{seconds:.1f}"}
    for size, shape in (
        (86_400, _("%(number)s d")),
        (3600, _("%(number)s h")),
        (60, _("%(number)s min")),
        (1, _("%(number)s s")),
    ):
        if seconds >= size:
            return shape % {"number": int(seconds // size)}
    return ""


def bytes_of(number: int) -> str:
    """Return a number of bytes in megabytes."""
    return _("%(number)s MB") % {"number": f"{number / 1_000_000:,.0f}"}


def duration(seconds: float) -> str:
    """Return a duration, given in seconds, with up to three digits.

    A negative one, which results from clocks that differ, is shown as a dash.
    """
    if seconds < 0 or not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return _("%(number)s ms") % {"number": f"{seconds * 1000:.3g}"}
    if seconds < 60:
        return _("%(number)s s") % {"number": f"{seconds:.3g}"}
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
