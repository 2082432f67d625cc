"""Stored values as text on a page. All of it is escaped: the page's markup is only in this module."""

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
from ..storage.timestamps import local as local_time

#: Characters that are shown of one value; laying JSON out multiplies what is nested in it.
MAX_SHOWN = 20_000


def shortened(text: str) -> str:
    """The beginning of a text that is too long for a page."""
    hidden = len(text) - MAX_SHOWN
    if hidden <= 0:
        return text
    more = ngettext("%(count)s more character", "%(count)s more characters", hidden)
    return f"{text[:MAX_SHOWN]}\n… {more % {'count': f'{hidden:,}'}}"


def pretty(value: Any) -> str:
    """A JSON value over several lines; what is too long in one piece, and cut."""
    flat = json.dumps(value, ensure_ascii=False)
    return shortened(flat) if len(flat) > MAX_SHOWN else json.dumps(value, indent=2, ensure_ascii=False)


def unreadable(stored: str) -> str:
    """What is shown in place of a stored text that is no JSON, in which secrets could not be masked."""
    shape = ngettext(
        "This cannot be read: it has %(count)s character and is not what is stored here.",
        "This cannot be read: it has %(count)s characters and is not what is stored here.",
        len(stored),
    )
    return shape % {"count": f"{len(stored):,}"}


def preview(args: list[Any], kwargs: dict[str, Any], maximum: int = 90) -> str:
    """Arguments on one line, as in a call."""
    shown = [json.dumps(value, ensure_ascii=False) for value in args]
    shown += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in kwargs.items()]
    line = ", ".join(shown)
    return line if len(line) <= maximum else f"{line[:maximum]}…"


def block(text: str) -> SafeString:
    """Text with its line breaks and spaces kept."""
    return format_html('<pre class="tasks-block">{}</pre>', text)


def folded(summary: str, text: str) -> SafeString:
    """A block that opens on a click."""
    return format_html("<details><summary>{}</summary>{}</details>", summary, block(text))


def badge(label: str, kind: str) -> SafeString:
    """A label in the colour of its kind."""
    return format_html('<span class="tasks-badge tasks-{}">{}</span>', kind, label)


def state_label(job: Job) -> str:
    """What a job's state is called for people."""
    if job.is_retrying:
        return _("Retrying")
    if job.status == "RUNNING" and job.cancel_requested_at:
        return _("Cancelling")
    return str(job.get_status_display())


def state(job: Job) -> SafeString:
    """A job's state as a badge."""
    return badge(state_label(job), "retrying" if job.is_retrying else job.status.lower())


def moment(value: datetime) -> SafeString:
    """A time for people and for programs."""
    local = local_time(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        local.isoformat(sep=" ", timespec="milliseconds"),
        f"{date_format(local, 'SHORT_DATE_FORMAT')} {date_format(local, 'H:i:s')}",
    )


def plain(value: datetime) -> str:
    """A time as text and no more, for titles."""
    local = local_time(value)
    return f"{date_format(local, 'SHORT_DATE_FORMAT')} {date_format(local, 'H:i:s')}"


def since(value: datetime) -> SafeString:
    """How long ago a time is, or how far ahead, with the time itself as a title."""
    seconds = (timezone.now() - value).total_seconds()
    local = local_time(value)
    shape = _("%(time)s ago") if seconds >= 0 else _("in %(time)s")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        date_format(local, "DATETIME_FORMAT"),
        shape % {"time": roughly(abs(seconds))},
    )


def roughly(seconds: float) -> str:
    """A length of time in one unit."""
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
    """An amount of memory."""
    return _("%(number)s MB") % {"number": f"{number / 1_000_000:,.0f}"}


def duration(seconds: float) -> str:
    """A length of time to three digits, in the unit that fits it. Where clocks disagree there is none."""
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
