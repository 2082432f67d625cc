import math
from collections import Counter, OrderedDict, defaultdict
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

import pytest
from django.db import models
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from django_tasks_q.exceptions import UnserializableValue, UnstorableValue
from django_tasks_q.payload import codec


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**63, 1.5, 1e308, -0.0, "", "ä €  '\"\\", [], {}, {"a": [1, {"b": None}]}],
)
def test_a_json_value_comes_back_as_it_was(value):
    back = codec.loads(codec.dumps(value, what="it"))
    assert back == value
    assert type(back) is type(value)


def test_a_tuple_becomes_a_list():
    assert codec.loads(codec.dumps((1, (2, 3)), what="it")) == [1, [2, 3]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "it is of type builtins.object"),
        ({1, 2}, "it is of type builtins.set"),
        (b"bytes", "it is of type builtins.bytes"),
        ({"a": [object()]}, "it['a'][0] is of type builtins.object"),
        ({1: 2}, "it has the key 1; JSON keys are strings, so use '1'"),
        ({None: 2}, "it has the key None"),
    ],
)
def test_a_type_that_json_lacks_is_refused_by_its_place(value, words):
    with pytest.raises(UnserializableValue) as caught:
        codec.dumps(value, what="it")
    assert words in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "it is nan"),
        ([math.inf], "it[0] is inf"),
        ("a\x00b", "it has a NUL character"),
        ({"a\x00": 1}, "it key has a NUL character"),
        ("\ud800", "it has a lone surrogate at position 0"),
        (nested(65), "nested deeper than 64 levels"),
        pytest.param(10**5000, "it cannot be stored", id="endless number"),
    ],
)
def test_a_value_that_some_database_refuses_is_refused_here(value, words):
    with pytest.raises(UnstorableValue) as caught:
        codec.dumps(value, what="it")
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_the_deepest_nesting_allowed_passes():
    assert codec.dumps(nested(64), what="it") == "[" * 64 + "]" * 64


def test_a_cycle_is_refused_as_too_deep():
    cyclic = []
    cyclic.append(cyclic)
    with pytest.raises(UnstorableValue):
        codec.dumps(cyclic, what="it")


def test_the_size_is_bounded_in_bytes_not_characters():
    assert codec.dumps("€" * 10, what="it", max_bytes=32)
    with pytest.raises(UnstorableValue, match="it would take 35 bytes as JSON; the limit is 32"):
        codec.dumps("€" * 11, what="it", max_bytes=32)


def test_arguments_are_named_in_errors():
    with pytest.raises(UnstorableValue, match="Argument 1 is nan"):
        codec.dump_arguments([0, math.nan], {}, 100)
    with pytest.raises(UnserializableValue, match=r"Argument when\['x'\] is of type"):
        codec.dump_arguments([], {"when": {"x": object()}}, 100)


def test_printable_text_is_escaped_and_bounded():
    assert codec.printable("a\x00b \ud800") == "a\\x00b \\ud800"
    text = codec.printable("h" * 1000 + "t" * 1000, 100)
    assert text.startswith("h" * 50)
    assert text.endswith("t" * 50)
    assert "1,900 bytes cut" in text


class Colour(models.TextChoices):
    RED = "r", "Red"


class Size(models.IntegerChoices):
    SMALL = 1, "Small"


class Plain(str, Enum):  # noqa: UP042 - whose str() is another text
    ONE = "one"


class OwnText(str):
    """Answers itself where a copy is asked for, as Django's safe strings do."""

    def __str__(self):
        return self

    def __repr__(self):
        return "own"

    def __getitem__(self, index):
        return self


class Unlike(str):
    """Equals nothing but itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class OwnInt(int):
    def __int__(self):
        return self

    def __repr__(self):
        return "own"


class OwnFloat(float):
    def __float__(self):
        return self

    def __repr__(self):
        return "own"


class OwnList(list):
    """As of pandas: what it has is not what it shows when it is sliced or copied."""

    def __getitem__(self, index):
        return self

    def copy(self):
        return self


class OwnDict(dict):
    def copy(self):
        return self


class Pair(NamedTuple):
    one: object
    other: object


SUBCLASSED = [
    (mark_safe("<b>"), "<b>"),
    (format_html("<b>{}</b>", "&"), "<b>&amp;</b>"),
    (Colour.RED, "r"),
    (Size.SMALL, 1),
    (Plain.ONE, "one"),
    (HTTPStatus.OK, 200),
    (OwnText("text"), "text"),
    (OwnInt(5), 5),
    (OwnFloat(1.5), 1.5),
    (OwnList([1, [2]]), [1, [2]]),
    (OwnDict(a=OwnList([OwnText("x")])), {"a": ["x"]}),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (Pair(Size.SMALL, Colour.RED), [1, "r"]),
    (SimpleLazyObject(lambda: "lazy"), "lazy"),
    (SimpleLazyObject(lambda: mark_safe("lazy")), "lazy"),
    (SimpleLazyObject(lambda: {"a": Size.SMALL}), {"a": 1}),
    ({Colour.RED: 1, mark_safe("safe"): 2, gettext_lazy("Yes"): 3}, {"r": 1, "safe": 2, "Yes": 3}),
    ([gettext_lazy("Yes"), format_lazy("{}!", gettext_lazy("No"))], ["Yes", "No!"]),
]


def exact(value):
    """The value with the type of each of its parts."""
    if isinstance(value, dict):
        return dict, [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, list):
        return list, [exact(item) for item in value]
    return type(value), value


@pytest.mark.parametrize(("value", "stored"), SUBCLASSED)
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: [1, {"a": it}]], ids=["alone", "inside"])
def test_an_instance_of_a_subclass_is_stored_as_what_it_extends(value, stored, wrap):
    back = codec.loads(codec.dumps(wrap(value), what="it"))
    assert exact(back) == exact(wrap(stored))
    arguments = codec.loads(codec.dump_arguments([wrap(value)], {"key": value}, 10_000))
    assert exact(arguments) == exact([[wrap(stored)], {"key": stored}])
    assert exact(codec.plain(wrap(value))) == exact(wrap(stored))


def test_lazy_text_is_stored_in_the_active_language():
    with translation.override("de"):
        assert codec.dumps(gettext_lazy("Yes"), what="it") == '"Ja"'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (OwnFloat("nan"), "it is nan"),
        (OwnText("a\x00"), "it has a NUL"),
        (mark_safe("\ud800"), "lone surrogate"),
        ({Unlike("a"): 1, Unlike("a"): 2}, "are the same text"),
    ],
)
def test_what_a_subclass_extends_is_held_to_the_same_rules(value, words):
    with pytest.raises(UnstorableValue, match=words):
        codec.dumps(value, what="it")


def test_keys_that_are_numbers_are_refused_members_of_enums_too():
    with pytest.raises(UnserializableValue, match="JSON keys are strings"):
        codec.dumps({Size.SMALL: 1}, what="it")


def test_a_cycle_through_subclasses_is_refused_as_too_deep():
    for cyclic in (OwnList(), OwnDict()):
        if isinstance(cyclic, list):
            cyclic += [cyclic, cyclic]
        else:
            cyclic |= {"a": cyclic, "b": cyclic}
        with pytest.raises(UnstorableValue, match="nested deeper than 64"):
            codec.dumps(cyclic, what="it")


def test_what_json_lacks_is_named_in_djangos_words():
    with pytest.raises(TypeError, match="Unsupported type: it is of type"):
        codec.dumps(object(), what="it")
