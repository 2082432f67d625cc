import math

import pytest

from django_tasks_q import codec
from django_tasks_q.exceptions import UnserializableValue, UnstorableValue


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
