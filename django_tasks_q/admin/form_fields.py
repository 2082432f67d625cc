"""Form fields for the arguments of a task: one for each parameter, by its annotation."""

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
from .forms import JsonField, picker

#: The prefix of the fields' names: a parameter may be called like an option of the job.
PREFIX = "argument-"
_Kind = inspect.Parameter
#: The prefix of parameters that take any number of arguments.
_PREFIXES: dict[Any, str] = {_Kind.VAR_POSITIONAL: "*", _Kind.VAR_KEYWORD: "**"}


class FieldSpec(NamedTuple):
    """A form field, and the function that converts its value to a JSON type."""

    field: forms.Field
    to_json: Callable[[Any], Any] = lambda value: value


class JsonArgument(JsonField):
    """JSON. A field without a value is shown empty, not as ``null``."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


def _number(kind: type[forms.Field]) -> forms.Field:
    return kind(widget=forms.NumberInput(attrs={"step": "any"}))


_FIELDS: dict[Any, Callable[[], FieldSpec]] = {
    str: lambda: FieldSpec(forms.CharField(strip=False)),
    int: lambda: FieldSpec(forms.IntegerField()),
    float: lambda: FieldSpec(_number(forms.FloatField)),
    Decimal: lambda: FieldSpec(_number(forms.DecimalField), str),
    UUID: lambda: FieldSpec(forms.UUIDField(), str),
    datetime: lambda: FieldSpec(forms.DateTimeField(widget=picker("datetime-local")), datetime.isoformat),
    date: lambda: FieldSpec(forms.DateField(widget=picker("date")), date.isoformat),
    time: lambda: FieldSpec(forms.TimeField(widget=picker("time")), time.isoformat),
    timedelta: lambda: FieldSpec(forms.DurationField(), duration_iso_string),
    bytes: lambda: FieldSpec(forms.CharField()),
    bool: lambda: FieldSpec(forms.BooleanField()),
}


@dataclass(frozen=True)
class Input:
    """A parameter and its form field."""

    name: str
    kind: Any
    spec: FieldSpec
    takes_none: bool
    has_default: bool
    #: Whether the field shows the default, so that an empty field is another value.
    shows_default: bool
    is_secret: bool

    @property
    def html_name(self) -> str:
        return PREFIX + self.name

    def argument(self, form: forms.Form) -> dict[str, Any]:
        """Return the argument by its name, in JSON types, or nothing if the function's default applies."""
        if form[self.html_name].data not in (None, ""):
            return {self.name: self.spec.to_json(form.cleaned_data[self.html_name])}
        if self.has_default and not self.shows_default:
            return {}
        if self.takes_none:
            return {self.name: None}
        is_text = type(self.spec.field) is forms.CharField
        return {self.name: ""} if is_text and self.has_default else {}


def inputs_of(task: Task[..., Any]) -> list[Input]:
    """Return an input for each parameter that a caller passes, in their order."""
    parameters = Parameters.of(task.func, task.takes_context)
    hints = hints_of_function(task.func, parameters.signature)
    return [
        _input(parameter, hints.get(parameter.name, Any), is_secret(parameter.name, task.sensitive))
        for parameter in parameters.signature.parameters.values()
    ]


def _input(parameter: inspect.Parameter, annotation: Any, secret: bool) -> Input:
    kind, takes_none = _without_none(annotation)
    many = parameter.kind in _PREFIXES
    spec = FieldSpec(JsonArgument()) if many else spec_for(kind, takes_none)
    field, default = spec.field, parameter.default
    has_default = default is not parameter.empty or many
    is_typed = not isinstance(field, forms.ChoiceField | forms.BooleanField)
    if secret and is_typed:
        field.widget = forms.PasswordInput(attrs={"autocomplete": "off"})
    elif has_default and not many:
        field.initial = _initial(spec, annotation, default)
    # Missing arguments are reported when the arguments are bound, as for every other caller.
    field.required = False
    is_required = not has_default and not takes_none and not isinstance(field, forms.BooleanField)
    if is_required:
        field.widget.attrs["required"] = True
    shows = field.initial is not None or (default is None and not (secret and is_typed))
    argument = Input(
        name=parameter.name,
        kind=parameter.kind,
        spec=spec,
        takes_none=takes_none or default is None,
        has_default=has_default,
        shows_default=shows,
        is_secret=secret,
    )
    field.label = _PREFIXES.get(parameter.kind, "") + parameter.name
    field.help_text = ". ".join(
        [*_help_texts(argument, annotation), *([_("Required")] if is_required else [])]
    )
    return argument


def _help_texts(argument: Input, annotation: Any) -> Iterable[str]:
    if annotation is not Any or isinstance(argument.spec.field, JsonField):
        shape = _("%(type)s, as JSON") if isinstance(argument.spec.field, JsonField) else "%(type)s"
        yield shape % {"type": described(annotation)}
    if isinstance(argument.spec.field, forms.DurationField):
        yield _("For example 1:30:00 or PT90M")
    if argument.has_default and not argument.shows_default:
        yield _("Leave empty for the default")
    elif argument.takes_none:
        yield _("Leave empty for no value")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return the type of an annotation without None, and whether it allows None."""
    annotation = bare(annotation)
    while is_alias(annotation):
        annotation = bare(annotation.__value__)
    if get_origin(annotation) not in UNIONS:
        return annotation, False
    kinds = [bare(arg) for arg in get_args(annotation)]
    others = [kind for kind in kinds if kind is not types.NoneType]
    return (others[0] if len(others) == 1 else annotation), len(others) < len(kinds)


def spec_for(kind: Any, takes_none: bool = False) -> FieldSpec:
    """Return the field for a type: JSON if no other field fits."""
    if kind is bool and takes_none:
        return _choices([(True, _("Yes")), (False, _("No"))])
    if get_origin(kind) is Literal:
        return _choices([(_as_json(kind, arg), str(getattr(arg, "label", arg))) for arg in get_args(kind)])
    if isinstance(kind, type) and issubclass(kind, Enum) and not issubclass(kind, Flag):
        members = [(_as_json(kind, member), str(getattr(member, "label", member.name))) for member in kind]
        return _choices(members)
    if isinstance(kind, type) and issubclass(kind, Model):
        return FieldSpec(PrimaryKey(kind))
    make = _FIELDS.get(kind)
    return make() if make else FieldSpec(JsonArgument())


class PrimaryKey(forms.CharField):
    """The primary key of a model's instance, as text."""

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


def _choices(pairs: list[tuple[Any, str]]) -> FieldSpec:
    """Return a choice of values. Their keys are JSON, which keeps 1 and "1" apart."""
    choices = [(json.dumps(key), label) for key, label in pairs if key is not _NOTHING]
    return FieldSpec(forms.ChoiceField(choices=[("", "—"), *choices]), json.loads)


_NOTHING = object()


def _as_json(annotation: Any, value: Any) -> Any:
    """Return a value as a JSON type, or _NOTHING if it cannot be converted."""
    try:
        return encoded(converter_for(annotation), value, "")
    except (UnserializableValue, UnstorableValue):
        return _NOTHING


def _initial(spec: FieldSpec, annotation: Any, default: Any) -> Any:
    """Return the initial value of a field, or None if it cannot show the default."""
    field = spec.field
    if default is None or (isinstance(default, str) and len(default.splitlines()) > 1):
        return None
    if isinstance(default, bytes) or isinstance(field, JsonField | forms.ChoiceField | PrimaryKey):
        default = _as_json(annotation, default)
    try:
        if isinstance(field, JsonField | forms.ChoiceField):
            text = json.dumps(default)
            return text if isinstance(field, forms.ChoiceField) else default
        return default if spec.to_json(default) is not _NOTHING else None
    except (TypeError, ValueError, AttributeError):
        return None
