"""How the arguments of a task are asked for: a field for each parameter, as its annotation says."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Literal, NamedTuple, get_args, get_origin
from uuid import UUID

from django import forms
from django.db.models import Model
from django.utils.duration import duration_iso_string
from django.utils.translation import gettext as _

from ..definition.task import Task
from ..exceptions import UnserializableValue, UnstorableValue
from ..payload.annotations import converter_for, hints_of_function
from ..payload.annotations.converters import encoded
from ..payload.annotations.hints import bare, described, is_alias
from ..payload.annotations.matching import UNIONS
from ..payload.annotations.records import is_text_of
from ..payload.masking import is_secret
from ..payload.signature import Parameters
from .forms import Json, picker

#: Before the names of parameters, so that one may be called like an option of the job.
PREFIX = "argument-"
_Kind = inspect.Parameter
#: Parameters that take any number of arguments, and how they are written.
_MANY: dict[Any, str] = {_Kind.VAR_POSITIONAL: "*", _Kind.VAR_KEYWORD: "**"}


class Asked(NamedTuple):
    """A field, and what JSON holds of its values."""

    field: forms.Field
    stored: Callable[[Any], Any] = lambda value: value


class JsonArgument(Json):
    """JSON; a field that nobody has filled in is empty, and not ``null``."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


def _number(kind: type[forms.Field]) -> forms.Field:
    return kind(widget=forms.NumberInput(attrs={"step": "any"}))


_PLAIN: dict[Any, Callable[[], Asked]] = {
    str: lambda: Asked(forms.CharField(strip=False)),
    int: lambda: Asked(forms.IntegerField()),
    float: lambda: Asked(_number(forms.FloatField)),
    Decimal: lambda: Asked(_number(forms.DecimalField), str),
    UUID: lambda: Asked(forms.UUIDField(), str),
    datetime: lambda: Asked(forms.DateTimeField(widget=picker("datetime-local")), datetime.isoformat),
    date: lambda: Asked(forms.DateField(widget=picker("date")), date.isoformat),
    time: lambda: Asked(forms.TimeField(widget=picker("time")), time.isoformat),
    timedelta: lambda: Asked(forms.DurationField(), duration_iso_string),
    bytes: lambda: Asked(forms.CharField()),
    bool: lambda: Asked(forms.BooleanField()),
}


@dataclass(frozen=True)
class Input:
    """A parameter, and how it is asked for."""

    name: str
    kind: Any
    asked: Asked
    takes_none: bool
    has_default: bool
    #: Whether the field begins with the default, so that an empty one says something else.
    shows_default: bool
    is_secret: bool

    @property
    def html_name(self) -> str:
        return PREFIX + self.name

    def given(self, form: forms.Form) -> dict[str, Any]:
        """The argument by its name, in JSON types; nothing where it is left to the function."""
        if form[self.html_name].data not in (None, ""):
            return {self.name: self.asked.stored(form.cleaned_data[self.html_name])}
        if self.has_default and not self.shows_default:
            return {}
        if self.takes_none:
            return {self.name: None}
        is_text = type(self.asked.field) is forms.CharField
        return {self.name: ""} if is_text and self.has_default else {}


def inputs_of(task: Task[..., Any]) -> list[Input]:
    """One for each parameter that a caller fills, in their order."""
    parameters = Parameters.of(task.func, task.takes_context)
    hints = hints_of_function(task.func, parameters.signature)
    return [
        _input(parameter, hints.get(parameter.name, Any), is_secret(parameter.name, task.sensitive))
        for parameter in parameters.signature.parameters.values()
    ]


def _input(parameter: inspect.Parameter, annotation: Any, secret: bool) -> Input:
    kind, takes_none = _without_none(annotation)
    many = parameter.kind in _MANY
    asked = Asked(JsonArgument()) if many else asked_for(kind, takes_none)
    field, default = asked.field, parameter.default
    has_default = default is not parameter.empty or many
    is_typed = not isinstance(field, forms.ChoiceField | forms.BooleanField)
    if secret and is_typed:
        field.widget = forms.PasswordInput(attrs={"autocomplete": "off"})
    elif has_default and not many:
        field.initial = _initial(asked, annotation, default)
    # What is missing is said by the binding of the arguments, as for every other caller.
    field.required = False
    is_required = not has_default and not takes_none and not isinstance(field, forms.BooleanField)
    if is_required:
        field.widget.attrs["required"] = True
    shows = field.initial is not None or (default is None and not (secret and is_typed))
    made = Input(
        name=parameter.name,
        kind=parameter.kind,
        asked=asked,
        takes_none=takes_none or default is None,
        has_default=has_default,
        shows_default=shows,
        is_secret=secret,
    )
    field.label = _MANY.get(parameter.kind, "") + parameter.name
    field.help_text = ". ".join([*_told(made, annotation), *([_("Required")] if is_required else [])])
    return made


def _told(asked: Input, annotation: Any) -> Iterable[str]:
    if annotation is not Any or isinstance(asked.asked.field, Json):
        shape = _("%(type)s, as JSON") if isinstance(asked.asked.field, Json) else "%(type)s"
        yield shape % {"type": described(annotation)}
    if isinstance(asked.asked.field, forms.DurationField):
        yield _("Such as 1:30:00, or PT90M")
    if asked.has_default and not asked.shows_default:
        yield _("Empty for its default")
    elif asked.takes_none:
        yield _("Empty for none")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type in an annotation, and whether it takes None besides."""
    annotation = bare(annotation)
    while is_alias(annotation):
        annotation = bare(annotation.__value__)
    if get_origin(annotation) not in UNIONS:
        return annotation, False
    kinds = [bare(arg) for arg in get_args(annotation)]
    others = [kind for kind in kinds if kind is not types.NoneType]
    return (others[0] if len(others) == 1 else annotation), len(others) < len(kinds)


def asked_for(kind: Any, takes_none: bool = False) -> Asked:
    """How values of a type are asked for: as JSON where there is no better way."""
    if kind is bool and takes_none:
        return _choices([(True, _("Yes")), (False, _("No"))])
    if get_origin(kind) is Literal:
        return _choices([(_stored(kind, arg), str(getattr(arg, "label", arg))) for arg in get_args(kind)])
    if isinstance(kind, type) and issubclass(kind, Enum) and not issubclass(kind, Flag):
        members = [(_stored(kind, member), str(getattr(member, "label", member.name))) for member in kind]
        return _choices(members)
    if isinstance(kind, type) and issubclass(kind, Model):
        return Asked(PrimaryKey(kind))
    made = _PLAIN.get(kind)
    return made() if made else Asked(JsonArgument())


class PrimaryKey(forms.CharField):
    """The primary key of a model's instance, as text that its field understands."""

    def __init__(self, model: type[Model], **more: Any) -> None:
        self.key: Any = model._meta.pk
        super().__init__(**more)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        key = self.key.to_python(text)
        if not is_text_of(text, key):
            raise forms.ValidationError(self.key.error_messages["invalid"], params={"value": text})
        return key if isinstance(key, int) else str(key)


def _choices(pairs: list[tuple[Any, str]]) -> Asked:
    """A list to choose from, by JSON text, which tells 1 from "1"."""
    choices = [(json.dumps(key), label) for key, label in pairs if key is not _NOTHING]
    return Asked(forms.ChoiceField(choices=[("", "—"), *choices]), json.loads)


_NOTHING = object()


def _stored(annotation: Any, value: Any) -> Any:
    """A value as JSON holds it, or _NOTHING where it does not."""
    try:
        return encoded(converter_for(annotation), value, "")
    except (UnserializableValue, UnstorableValue):
        return _NOTHING


def _initial(asked: Asked, annotation: Any, default: Any) -> Any:
    """What a field begins with; None where a default cannot be written in it."""
    field = asked.field
    if default is None or (isinstance(default, str) and len(default.splitlines()) > 1):
        return None
    if isinstance(default, bytes) or isinstance(field, Json | forms.ChoiceField | PrimaryKey):
        default = _stored(annotation, default)
    try:
        if isinstance(field, Json | forms.ChoiceField):
            text = json.dumps(default)
            return text if isinstance(field, forms.ChoiceField) else default
        return default if asked.stored(default) is not _NOTHING else None
    except (TypeError, ValueError, AttributeError):
        return None
