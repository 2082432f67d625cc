"""Form fields of confirmations, and the forms that are made of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..definition.options import MAX_QUEUE_NAME
from ..storage.timestamps import local


def _line(value: str) -> str:
    if value and not value.isprintable():
        raise forms.ValidationError(_("Enter printable characters on one line."))
    return value


class LineField(forms.CharField):
    def clean(self, value: Any) -> Any:
        return _line(super().clean(value))


def picker(kind: str, seconds: bool = True) -> forms.Widget:
    """Return a widget with the browser's picker for a "date", "time" or "datetime-local"."""
    clock = "%H:%M:%S" if seconds else "%H:%M"
    attrs = {"type": kind, "step": "1"} if seconds and kind != "date" else {"type": kind}
    match kind:
        case "date":
            return forms.DateInput(attrs, format="%Y-%m-%d")
        case "time":
            return forms.TimeInput(attrs, format=clock)
    return forms.DateTimeInput(attrs, format=f"%Y-%m-%dT{clock}")


class LocalDateTimeField(forms.DateTimeField):
    """A date and time in the current time zone."""

    def __init__(self, **more: Any) -> None:
        super().__init__(widget=picker("datetime-local", seconds=False), **more)


class JsonField(forms.JSONField):
    """JSON. Text that is nested deeper than Python can parse is a validation error."""

    widget = forms.Textarea(attrs={"rows": 6, "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise forms.ValidationError(_("This is nested too deeply.")) from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        # Shown as it was typed: serializing it fails for a lone surrogate and for deep nesting.
        return initial if self.disabled else InvalidJSONInput(data or "")


def _reason() -> forms.Field:
    return LineField(
        label=_("Reason"), max_length=255, required=False, help_text=_("Recorded in the history.")
    )


FIELDS: dict[str, Any] = {
    "reason": _reason,
    "at": lambda: LocalDateTimeField(
        label=_("Not before"), required=False, help_text=_("Leave empty to start now.")
    ),
    "moment": lambda: LocalDateTimeField(label=_("Start at")),
    "until": lambda: LocalDateTimeField(
        label=_("Until"), required=False, help_text=_("Leave empty to pause until the queue is resumed.")
    ),
    "priority": lambda: forms.IntegerField(
        label=_("Priority"), min_value=-100, max_value=100, required=False
    ),
    "queue_name": lambda: LineField(label=_("Queue"), max_length=MAX_QUEUE_NAME, required=False),
    "max_running": lambda: forms.IntegerField(
        label=_("Maximum number of running jobs"),
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text=_("Over all workers. Leave empty for no limit."),
    ),
    "typed": lambda: forms.CharField(label=_("Type the queue's name to confirm"), max_length=MAX_QUEUE_NAME),
    "args": lambda: JsonField(label=_("Positional arguments")),
    "kwargs": lambda: JsonField(label=_("Keyword arguments")),
}


def form_of(names: Iterable[str], data: Any = None, initial: Any = None) -> forms.Form:
    """Return a form with the named fields."""
    form = forms.Form(data, initial=initial)
    for name in names:
        form.fields[name] = FIELDS[name]()
    return form


def values_of(form: forms.Form) -> dict[str, Any]:
    """Return the keyword arguments for a verb, without those of empty fields."""
    given = {name: value for name, value in form.cleaned_data.items() if value not in (None, "")}
    if "moment" in given:
        given["at"] = given.pop("moment")
    return given


def in_an_hour() -> str:
    """Return the local time in an hour, as the initial value of a field."""
    return (local(timezone.now()) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
