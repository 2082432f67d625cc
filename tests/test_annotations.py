import enum
import inspect
import sys
import types
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
)
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from django_tasks_q.exceptions import UnserializableValue, UnstorableValue
from django_tasks_q.payload import codec
from django_tasks_q.payload.annotations import converter_for, matches, problem_of
from django_tasks_q.payload.signature import Parameters

from . import future_annotations
from .tasksapp.models import Effect

T = TypeVar("T")
Cents = NewType("Cents", Decimal)


class Color(enum.Enum):
    RED = "red"
    ONE = 1
    TRUE = True
    PAIR = (1, "a")
    RATE = Decimal("0.5")
    LOST = object()


class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Line:
    price: Decimal
    count: int = 1


@dataclass
class Order:
    id: UUID
    lines: list[Line]
    size: Size | None = None
    next: "Order | None" = None
    total: int = field(init=False, default=0)


@dataclass(frozen=True)
class Grown(Line):
    extra: str = ""


@dataclass
class Page(Generic[T]):
    items: list[T]


class Point(NamedTuple):
    x: Decimal
    y: int = 0


@dataclass
class Forgetful:
    price: Decimal
    seed: InitVar[int]


class Priced(TypedDict):
    price: Decimal
    note: NotRequired[str]


class Loose(TypedDict, total=False):
    note: str


class Unknown:
    pass


class Runs(Protocol):
    def run(self) -> None: ...


def stored(annotation, value):
    """What is stored of a value, by way of the text that a database holds."""
    encoded = converter_for(annotation).encode(value, "it")
    return codec.loads(codec.dumps(encoded, what="it"))


def roundtrip(annotation, value):
    return converter_for(annotation).decode(stored(annotation, value))


def returns(annotation, value):
    back = roundtrip(annotation, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "annotation",
    [
        Any, object, inspect.Parameter.empty, str, int, float, bool, None, type(None), list, dict, list[int],
        dict[str, list[str]], Sequence[str], Mapping[str, Any], Literal["a", 1, None], T, int | None,
        dict[str, int] | None, str | list[int] | None, Unknown, list[Unknown], Decimal | Any, Runs, Forgetful,
        Callable[[int], Decimal], Annotated[int, "whole"], NewType("Name", str), Loose,
        future_annotations.Tree, "Missing", 5, [Decimal], print, type[Decimal], Iterator[Decimal],
    ],
)  # fmt: skip
def test_values_that_are_stored_as_they_are_need_no_converter(annotation):
    assert converter_for(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Decimal, Decimal("1.50"), "1.50"),
        (UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime, datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00Z"),
        (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3))), "2026-01-02T00:00:00-03:00"),
        (datetime, datetime(2026, 7, 2, tzinfo=ZoneInfo("Europe/Berlin")), "2026-07-02T00:00:00+02:00"),
        (date, date(2026, 1, 2), "2026-01-02"),
        (time, time(3, 4, 5, 6), "03:04:05.000006"),
        (timedelta, timedelta(days=1, microseconds=1), "P1DT00H00M00.000001S"),
        (timedelta, -timedelta(microseconds=1), "-P0DT00H00M00.000001S"),
        (bytes, b"\x00\xff", "AP8="),
        (Color, Color.RED, "red"),
        (Color, Color.ONE, 1),
        (Color, Color.PAIR, [1, "a"]),
        (Color, Color.RATE, "0.5"),
        (Size, Size.SMALL, "s"),
        (Level, Level.LOW, 1),
        (Right, Right.READ, 1),
        (Right, Right.READ | Right.WRITE, 3),
        (Line, Line(Decimal(1)), {"price": "1", "count": 1}),
        (Point, Point(Decimal(1), 2), ["1", 2]),
        (Priced, {"price": Decimal(1)}, {"price": "1"}),
        (Cents, Decimal(1), "1"),
        (Annotated[Decimal, "metadata"], Decimal(1), "1"),
        (Annotated[Decimal, {}], Decimal(1), "1"),
        (list[Annotated[Decimal, {}]], [Decimal(1)], ["1"]),
        (Decimal | None, None, None),
        (list[Decimal], [Decimal(1)], ["1"]),
        (Sequence[Decimal], [Decimal(1)], ["1"]),
        (Iterable[Decimal], [Decimal(1)], ["1"]),
        (tuple, (1, 2), [1, 2]),
        (tuple[int, ...], (1, 2), [1, 2]),
        (tuple[int, Decimal], (1, Decimal(2)), [1, "2"]),
        (tuple[()], (), []),
        (tuple[int, *tuple[str, ...]], (1, "a", "b"), [1, "a", "b"]),
        (set, {1}, [1]),
        (set[int], {3, 1, 2}, [1, 2, 3]),
        (frozenset[UUID], frozenset({UUID(int=1)}), ["00000000-0000-0000-0000-000000000001"]),
        (dict[str, Decimal], {"a": Decimal(1)}, {"a": "1"}),
        (Mapping[str, Decimal], {"a": Decimal(1)}, {"a": "1"}),
        (dict[int, str], {1: "a", -2: "b"}, {"1": "a", "-2": "b"}),
        (dict[Size, int], {Size.LARGE: 1}, {"l": 1}),
        (dict[Level, int], {Level.HIGH: 1}, {"2": 1}),
        (dict[date, Any], {date(2026, 1, 2): 1}, {"2026-01-02": 1}),
        (dict[UUID, list[Decimal]], {UUID(int=0): [Decimal(1)]}, {str(UUID(int=0)): ["1"]}),
        (list[dict[str, tuple[Decimal, ...]]], [{"a": (Decimal(1),)}], [{"a": ["1"]}]),
        (Literal[Size.SMALL, "x"], Size.SMALL, "s"),
    ],
)
def test_a_value_is_stored_in_a_form_of_its_own_and_comes_back(annotation, value, text):
    assert stored(annotation, value) == text
    assert type(stored(annotation, value)) is type(text)
    returns(annotation, value)
    assert matches(annotation, value)


def test_a_value_of_an_enum_that_is_another_ones_equal_is_told_from_it():
    assert converter_for(Color).decode(1) is Color.ONE
    with pytest.raises(ValueError, match=r"^1\.0 cannot be read as Color\.$"):
        converter_for(Color).decode(1.0)


def test_a_dataclass_is_stored_by_its_own_annotations():
    order = Order(uuid4(), [Line(Decimal("1.10"), 2)], Size.LARGE, Order(uuid4(), []))
    assert stored(Order, order)["lines"] == [{"price": "1.10", "count": 2}]
    returns(Order, order)
    returns(Page[int], Page([1]))


def test_annotations_that_are_text_are_looked_up():
    node = future_annotations.Node(Decimal(1), [future_annotations.Node(Decimal(2))])
    returns(future_annotations.Node, node)
    assert stored(future_annotations.Node, node)["children"][0]["amount"] == "2"
    returns(future_annotations.Priced, {"price": Decimal(1)})


def test_a_local_class_may_name_itself():
    @dataclass
    class Local:
        amount: Decimal
        next: "Local | None" = None

    returns(Local, Local(Decimal(1), Local(Decimal(2))))


@pytest.mark.parametrize(
    ("annotation", "given", "meant"),
    [
        (Decimal, 5, Decimal(5)),
        (Decimal, "1.5", Decimal("1.5")),
        (UUID, "00000000000000000000000000000001", UUID(int=1)),
        (datetime, "2026-01-02T03:04", datetime(2026, 1, 2, 3, 4)),
        (timedelta, "PT1H", timedelta(hours=1)),
        (Color, "red", Color.RED),
        (Line, {"price": 1}, Line(Decimal(1))),
        (Point, (1,), Point(Decimal(1))),
        (set[int], [1, 1], {1}),
        (tuple[Decimal, ...], ["1"], (Decimal(1),)),
        (list[Decimal], (1, "2"), [Decimal(1), Decimal(2)]),
        (Order, {"id": str(UUID(int=1)), "lines": []}, Order(UUID(int=1), [])),
        (int | Decimal, "1.5", Decimal("1.5")),
    ],
)
def test_what_would_be_stored_may_be_given_instead(annotation, given, meant):
    assert roundtrip(annotation, given) == meant


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (Decimal, "abc", "it must be of type Decimal, not 'abc'."),
        (Decimal, 1.5, "it must be of type Decimal, not 1.5."),
        (Decimal, True, "it must be of type Decimal, not True."),
        (Decimal, None, "it must be of type Decimal, not None."),
        (Decimal, "NaN", "it must be of type Decimal, not 'NaN'."),
        (UUID, 5, "it must be of type UUID, not 5."),
        (datetime, "2026-01-02", "it must be of type datetime, not '2026-01-02'."),
        (datetime, date(2026, 1, 2), "it must be of type datetime, not datetime.date(2026, 1, 2)."),
        (date, datetime(2026, 1, 2), "it must be of type date, not datetime.datetime(2026, 1, 2, 0, 0)."),
        (timedelta, 5, "it must be of type timedelta, not 5."),
        (timedelta, "12:00:00", "it must be of type timedelta, not '12:00:00'."),
        (bytes, "abcd", "it must be of type bytes, not 'abcd'."),
        (Color, Size.SMALL, "it must be of type Color, not <Size.SMALL: 's'>."),
        (Color, "blue", "it must be of type Color, not 'blue'."),
        (Color, Color.LOST, "it is Color.LOST, whose value <object"),
        (Line, Grown(Decimal(1)), "it must be of type Line, not Grown("),
        (Line, {"price": 1, "other": 2}, "it must be of type Line"),
        (Line, {"count": 2}, "it must be of type Line"),
        (Line, Line(None), "it.price must be of type Decimal, not None."),
        (Order, Order(UUID(int=1), [Line("x")]), "it.lines[0].price must be of type Decimal, not 'x'."),
        (Point, (1, 2, 3), "it must be of type Point, not (1, 2, 3)."),
        (Priced, {"note": ""}, "it must be of type Priced, not {'note': ''}."),
        (Priced, {"price": "x"}, "it['price'] must be of type Decimal, not 'x'."),
        (list[Decimal], Decimal(1), "it must be of type list[Decimal], not Decimal('1')."),
        (list[Decimal], [Decimal(1), "x"], "it[1] must be of type Decimal, not 'x'."),
        (list[Decimal], "12", "it must be of type list[Decimal], not '12'."),
        (tuple[int, Decimal], (1,), "it must be of type tuple[int, Decimal], not (1,)."),
        (tuple[int, ...], "12", "it must be of type tuple[int, ...], not '12'."),
        (dict[UUID, list[Decimal]], {UUID(int=0): ["x"]}, f"it[{UUID(int=0)!r}][0] must be of type Decimal"),
        (dict[UUID, int], {"x": 1}, "it key must be of type UUID, not 'x'."),
        (dict[str, Decimal], [], "it must be of type dict[str, Decimal], not []."),
        (int | Decimal, "x", "it must be of type int | Decimal, not 'x'."),
        (datetime | None, "x", "it must be of type datetime, not 'x'."),
        (Line | Point, Line("x"), "it.price must be of type Decimal, not 'x'."),
        (list | set[int], {1}, "it is of type set[int], which list | set[int] would read back as list"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_place(annotation, value, words):
    with pytest.raises(UnserializableValue) as caught:
        converter_for(annotation).encode(value, "it")
    assert words in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (Decimal, Decimal("NaN"), "it is NaN, which cannot be stored."),
        (Decimal, Decimal("-Infinity"), "it is -Infinity, which cannot be stored."),
        (list[Decimal], [Decimal("sNaN")], "it[0] is sNaN"),
        (time, time(1, tzinfo=ZoneInfo("Europe/Berlin")), "it is a time in a zone whose offset"),
        (dict[Decimal, int], {Decimal(1): 1, "1": 2}, "it has two keys that are stored as '1'."),
    ],
)
def test_a_value_that_would_not_come_back_is_refused(annotation, value, words):
    with pytest.raises(UnstorableValue) as caught:
        converter_for(annotation).encode(value, "it")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "text", "words"),
    [
        (Decimal, "abc", "'abc' cannot be read as Decimal."),
        (Decimal, None, "None cannot be read as Decimal."),
        (UUID, [], "[] cannot be read as UUID."),
        (datetime, "2026-13-02T00:00:00", "'2026-13-02T00:00:00' cannot be read as datetime."),
        (timedelta, "1 day", "'1 day' cannot be read as timedelta."),
        (bytes, "a", "'a' cannot be read as bytes."),
        (bytes, "ü", "'ü' cannot be read as bytes."),
        (Size, "xl", "'xl' cannot be read as Size."),
        (Right, 8, "8 cannot be read as Right."),
        (Line, [], "[] cannot be read as Line."),
        (Line, {"x": 1}, "{'x': 1} cannot be read as Line."),
        (Point, [], "[] cannot be read as Point."),
        (set[int], 1, "1 cannot be read as set[int]."),
        (dict[int, int], {"x": 1}, "'x' cannot be read as int."),
        (dict[Level, int], {"9": 1}, "'9' cannot be read as Level."),
        (int | Decimal, "x", "'x' cannot be read as int | Decimal."),
        (Priced, {}, "{} cannot be read as Priced."),
    ],
)
def test_what_cannot_be_read_is_told(annotation, text, words):
    with pytest.raises(ValueError, match=r".") as caught:
        converter_for(annotation).decode(text)
    assert str(caught.value) == words


def test_a_dataclass_of_another_release_tells_what_it_lacks():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'price'"):
        converter_for(Line).decode({"count": 1})
    assert converter_for(Line).decode({"price": "1"}) == Line(Decimal(1))


# Unions


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (int | Decimal, [5, Decimal(5), Decimal("1.5")]),
        (int | str | Decimal, [5, Decimal(5), "text"]),
        (float | Decimal, [0.5, 5, Decimal(5)]),
        (bool | Decimal, [True, Decimal(1)]),
        (datetime | None, [None, datetime(2026, 1, 2)]),
        (datetime | date | time | timedelta, [datetime(2026, 1, 2), date(2026, 1, 2), time(3), timedelta(3)]),
        (timedelta | time | date | datetime, [datetime(2026, 1, 2), date(2026, 1, 2), time(3), timedelta(3)]),
        (str | UUID, ["text", UUID(int=1)]),
        (UUID | str | None, ["text", UUID(int=1), None]),
        (Size | str, [Size.SMALL, "xl"]),
        (Level | int, [Level.LOW, 7]),
        (Line | Point, [Line(Decimal(1)), Point(Decimal(1))]),
        (Line | dict[str, Decimal], [Line(Decimal(1)), {"a": Decimal(1)}]),
        (Line | dict, [Line(Decimal(1)), {"a": 1}]),
        (list[Decimal] | Decimal, [[Decimal(1)], Decimal(1)]),
        (list[int] | list[Decimal], [[1, 2], [Decimal(1)]]),
        (set[int] | int, [{1}, 1]),
        (list[datetime | int | None], [[1, None, datetime(2026, 1, 2)]]),
        (dict[str, int | Decimal], [{"a": 1, "b": Decimal(2)}]),
        (Literal["now"] | datetime, ["now", datetime(2026, 1, 2)]),
    ],
)
def test_each_member_of_a_union_comes_back_as_itself(annotation, values):
    for value in values:
        returns(annotation, value)


def test_the_order_of_a_union_is_of_no_account():
    # The two are equal, so that whoever asks first would decide.
    converters = [converter_for(one) for one in (Size | str, str | Size)]
    assert [converter.decode("s") for converter in converters] == [Size.SMALL, Size.SMALL]
    assert [type(member).__name__ for member in converters[0].members] == ["EnumConverter", "Plain"]


def test_text_that_reads_as_another_member_of_a_union_comes_back_as_that():
    assert roundtrip(str | UUID, str(UUID(int=1))) == UUID(int=1)


def test_a_value_that_a_union_would_read_as_another_is_refused():
    with pytest.raises(UnserializableValue) as caught:
        converter_for(Decimal | bytes).encode(b"\xd7m\xf8", "it")  # "1234", which is four digits in base64
    assert str(caught.value).startswith(
        "it is of type bytes, which Decimal | bytes would read back as Decimal: "
    )
    assert roundtrip(Decimal | bytes, b"\x00") == b"\x00"


# Recursion


@pytest.mark.skipif(sys.version_info < (3, 12), reason="has no type statement")
def test_aliases_may_name_themselves():
    names: dict[str, Any] = {"Decimal": Decimal}
    exec("type Json = None | int | str | list[Json] | dict[str, Json]", names)
    exec("type Tree = Decimal | list[Tree]", names)
    assert converter_for(names["Json"]) is None
    returns(names["Tree"], [Decimal(1), [Decimal(2), []]])
    assert matches(names["Json"], [1, {"a": [None]}])
    assert not matches(names["Json"], [1.5])


def test_an_alias_is_what_it_stands_for():
    extensions = pytest.importorskip("typing_extensions")
    returns(extensions.TypeAliasType("Money", Decimal), Decimal(1))
    assert converter_for(extensions.TypeAliasType("Name", str)) is None


def test_a_cycle_of_values_is_refused():
    def function(order: Order): ...

    order = Order(UUID(int=1), [])
    order.next = order
    with pytest.raises(UnstorableValue, match=r"shop\.ship\(\): argument order is nested too deep"):
        Parameters.of(function, False).encoded((order,), {}, "shop.ship")


# Round trips

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
# Of whole seconds: Python itself misreads smaller parts of an offset.
ZONES = (
    st.timezones()
    | st.none()
    | st.integers(-82_800, 82_800).map(lambda seconds: timezone(timedelta(seconds=seconds)))
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
KINDS = [
    (Decimal, DECIMALS),
    (UUID, st.uuids()),
    (datetime, st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (bytes, st.binary()),
    (Size, st.sampled_from(Size)),
    (Line, st.builds(Line, DECIMALS, st.integers())),
    (Point, st.builds(Point, DECIMALS, st.integers())),
]


@pytest.mark.parametrize(("annotation", "values"), KINDS, ids=lambda item: getattr(item, "__name__", ""))
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_value_comes_back(annotation, values, data):
    value = data.draw(values)
    other = UUID if annotation is not UUID else date
    others = data.draw(st.uuids() if other is UUID else st.dates())
    returns(annotation, value)
    returns(annotation | None, value)
    returns(list[annotation | int | None], [value, 7, None])
    returns(dict[int, tuple[annotation, ...]], {7: (value, value)})
    returns(tuple[annotation, other], (value, others))
    assert matches(annotation, value)
    if annotation is not bytes:
        returns(annotation | other, value)
        returns(annotation | other, others)
    if isinstance(value, Hashable):
        returns(set[annotation], {value})
        returns(frozenset[annotation], frozenset({value}))
    if converter_for(annotation).is_text:
        returns(dict[annotation, int], {value: 1})


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES))
def test_an_aware_datetime_comes_back_as_the_same_instant(value):
    back = roundtrip(datetime, value)
    assert back.replace(tzinfo=None) == value.replace(tzinfo=None)
    assert back.utcoffset() == value.utcoffset()


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.uuids(), st.lists(DECIMALS | TEXT.filter(lambda text: not looks_like_a_number(text))))
)
def test_deep_structures_come_back(value):
    returns(dict[UUID, list[Decimal | str]], value)


def looks_like_a_number(text):
    try:
        return Decimal(text).is_finite()
    except ArithmeticError:
        return False


# Models


def test_a_model_is_stored_as_its_primary_key():
    assert stored(Effect, Effect(pk=7)) == 7
    assert stored(Effect, 7) == 7
    assert stored(Effect, "7") == 7
    assert stored(Session, Session(pk="abc")) == "abc"
    assert stored(list[Effect], [Effect(pk=1), Effect(pk=2)]) == [1, 2]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Effect(), "it is an unsaved Effect, which has no primary key."),
        (None, "it must be of type Effect, not None."),
        (True, "it must be of type Effect, not True."),
        ("x", "it must be of type Effect, not 'x'."),
        (Group(pk=1, name="g"), "it must be of type Effect, not <Group: g>."),
    ],
)
def test_what_is_no_saved_instance_is_refused(value, words):
    with pytest.raises(UnserializableValue) as caught:
        converter_for(Effect).encode(value, "it")
    assert str(caught.value) == words


def test_one_of_two_models_is_refused_as_their_keys_are_alike():
    converter = converter_for(Group | User)
    with pytest.raises(UnserializableValue, match="would read back as Group"):
        converter.encode(User(pk=1), "it")


def test_who_needs_the_database_says_so():
    @dataclass
    class Holder:
        effects: list[Effect]
        next: "Holder | None" = None

    for annotation in (Effect, list[Effect], Effect | None, dict[str, Effect], Holder, tuple[int, Effect]):
        assert converter_for(annotation).needs_database
    assert not converter_for(Order).needs_database


@pytest.mark.django_db
def test_an_instance_is_read_from_the_database():
    effect = Effect.objects.create(key="a", pid=1)
    assert roundtrip(Effect, effect) == effect
    assert roundtrip(dict[str, Effect | None], {"a": effect, "b": None}) == {"a": effect, "b": None}
    assert roundtrip(Effect | str, "text") == "text"
    text = stored(Effect, effect)
    effect.delete()
    with pytest.raises(ValueError, match=rf"^There is no Effect with the primary key {text}\.$"):
        converter_for(Effect).decode(text)
    with pytest.raises(ValueError, match="There is no Effect"):
        converter_for(Effect | str).decode(text)


# Other packages


def test_what_pydantic_writes_pydantic_reads():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        model_config = {"strict": True}
        when: datetime
        amount: Decimal = pydantic.Field(alias="Amount")

    value = Model(when=datetime(2026, 1, 2), Amount=Decimal("1.50"))
    returns(Model, value)
    returns(list[Model | int], [value, 1])
    assert stored(Model, value) == {"when": "2026-01-02T00:00:00", "Amount": "1.50"}
    with pytest.raises(UnserializableValue, match=r"it must be of type Model, not {}"):
        converter_for(Model).encode({}, "it")
    with pytest.raises(
        ValueError, match=r"{} cannot be read as Model: when: Field required; Amount: Field required."
    ):
        converter_for(Model).decode({})


def test_what_msgspec_writes_msgspec_reads():
    msgspec = pytest.importorskip("msgspec")
    Struct = msgspec.defstruct("Struct", [("when", datetime), ("by", dict[int, Decimal])])
    returns(Struct, Struct(datetime(2026, 1, 2), {1: Decimal(1)}))
    with pytest.raises(
        ValueError, match=r"{} cannot be read as Struct: Object missing required field `when`."
    ):
        converter_for(Struct).decode({})


class Duck:
    """Has what pydantic's models have."""

    def __init__(self, value):
        self.value = value

    def model_dump(self, **options):
        return {"value": self.value}

    @classmethod
    def model_validate_json(cls, text):
        return cls(**codec.loads(text))


def test_a_model_is_known_by_what_it_can_do():
    assert stored(Duck, Duck(1)) == {"value": 1}
    assert roundtrip(Duck, Duck(1)).value == 1
    with pytest.raises(UnserializableValue):
        converter_for(Duck).encode({"other": 1}, "it")


# Strictness

PRICED = {"price": Decimal(1)}


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (str, ["", Size.SMALL], [1, None, b""]),
        (int, [1, Level.LOW], [True, 1.0, "1"]),
        (float, [1.5, 1], [True, "1", Decimal(1)]),
        (bool, [True], [1, None]),
        (None, [None], [0, False, ""]),
        (Any, [1, None, object()], []),
        (object, [1, None], []),
        (T, [1], []),
        (inspect.Signature.empty, [1], []),
        ("Missing", [1], []),
        (list, [[], [1]], [(), None]),
        (list[int], [[], [1]], [["1"], [True], (1,), {1}]),
        (dict[str, int], [{}, {"a": 1}], [{1: 1}, {"a": "b"}, []]),
        (dict, [{1: 2}], [[]]),
        (Sequence[int], [[1], (1,)], [["a"], {1}]),
        (Mapping[str, int], [{"a": 1}, types.MappingProxyType({"a": 1})], [{"a": ""}]),
        (tuple[int, str], [(1, "a")], [(1,), ("a", 1), [1, "a"]]),
        (tuple[int, ...], [(), (1, 2)], [("a",)]),
        (tuple[()], [()], []),
        (set[int], [{1}], [{"a"}, [1]]),
        (int | None, [1, None], ["", True]),
        (int | str, [1, ""], [None, 1.5]),
        (Literal["a", 1], ["a", 1], ["b", True, None]),
        (Decimal, [Decimal(1)], [1, "1"]),
        (date, [date(2026, 1, 2)], [datetime(2026, 1, 2)]),
        (datetime, [datetime(2026, 1, 2)], [date(2026, 1, 2)]),
        (list[Decimal | None], [[Decimal(1), None]], [[1]]),
        (Size, [Size.SMALL], ["s"]),
        (Line, [Line(Decimal(1)), Grown(Decimal(1))], [{"price": 1}]),
        (Page[int], [Page([1])], [[1]]),
        (Priced, [PRICED, PRICED | {"note": ""}], [{}, {"price": 1}, PRICED | {"x": 1}]),
        (future_annotations.Priced, [{"price": Decimal(1)}], [{"note": ""}]),
        (Loose, [{}, {"note": ""}], [{"note": 1}, []]),
        (Cents, [Decimal(1)], [1]),
        (Annotated[int, {}], [1], [True]),
        (Unknown, [Unknown()], [1]),
        (Runs, [1], []),
        (Effect, [Effect()], [1]),
        (Callable[[], int], [print], []),
    ],
)  # fmt: skip
def test_a_value_is_what_its_annotation_says_or_not(annotation, right, wrong):
    assert [value for value in right if not matches(annotation, value)] == []
    assert [value for value in wrong if matches(annotation, value)] == []


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (inspect.Signature.empty, "There is no annotation."),
        (Any, "The annotation Any says nothing that could be checked."),
        (object, "The annotation object says nothing that could be checked."),
        (int | Any, "The annotation int | Any says nothing that could be checked."),
        (T, "The annotation ~T says nothing that could be checked."),
        ("Missing", "The annotation 'Missing' cannot be looked up."),
        (None, None),
        (int, None),
        (list, None),
        (int | None, None),
        (Literal["a"], None),
        (Line, None),
    ],
)
def test_an_annotation_that_says_nothing_has_a_problem(annotation, problem):
    assert problem_of(annotation) == problem


# Parameters


def typed(
    context, amount: Decimal, /, plain, when: datetime | None = None, *rates: Decimal, by: UUID, **more: Line
):
    """Has a parameter of each kind."""


def untyped(a, b: int = 0, *args: str, **kwargs: Any) -> int:
    return 0


def test_the_arguments_of_a_call_are_stored_by_their_annotations_and_read_back():
    parameters = Parameters.of(typed, True)
    assert list(parameters.typed) == ["amount", "when", "rates", "by", "more"]
    args = (Decimal(1), "as it is", datetime(2026, 1, 2), Decimal(2), Decimal(3))
    kwargs = {"by": UUID(int=1), "rates": Line(Decimal(4)), "amount": Line(Decimal(5))}
    call = parameters.encoded(args, kwargs, "shop.pay")
    assert call == (
        ["1", "as it is", "2026-01-02T00:00:00", "2", "3"],
        {
            "by": str(UUID(int=1)),
            "rates": {"price": "4", "count": 1},
            "amount": {"price": "5", "count": 1},
        },
    )
    assert parameters.decoded(*codec.loads(codec.dump_arguments(*call, 1000))) == ([*args], kwargs)


def test_arguments_by_keyword_and_by_position_are_the_same():
    def function(amount: Decimal, by: UUID | None = None): ...

    parameters = Parameters.of(function, False)
    assert parameters.encoded((), {"amount": 1}, "f") == ([], {"amount": "1"})
    assert parameters.encoded((1,), {}, "f") == (["1"], {})
    assert parameters.decoded(["1"], {}) == ([Decimal(1)], {})


def test_a_call_without_typed_parameters_is_left_alone():
    parameters = Parameters.of(untyped, False)
    args, kwargs = (1, 2), {"x": 1}
    for convert in (lambda *call: parameters.encoded(*call, "f"), parameters.decoded):
        one, other = convert(args, kwargs)
        assert one is args
        assert other is kwargs
    assert (parameters.typed, parameters.returns, parameters.return_annotation) == ({}, None, int)


def test_errors_name_the_function_and_the_argument():
    parameters = Parameters.of(typed, True)
    with pytest.raises(
        UnserializableValue, match=r"^shop\.pay\(\): argument amount must be of type Decimal, not 'x'\.$"
    ):
        parameters.encoded(("x", 1), {}, "shop.pay")
    with pytest.raises(UnserializableValue, match=r"argument rates\[1\] must be"):
        parameters.encoded((1, 1, None, 1, "x"), {}, "shop.pay")
    with pytest.raises(UnserializableValue, match=r"argument other\.price must be"):
        parameters.encoded((1, 1), {"other": Line("x")}, "shop.pay")
    with pytest.raises(ValueError, match=r"^argument by: 'x' cannot be read as UUID\.$"):
        parameters.decoded(("1", 1), {"by": "x"})


def test_names_that_cannot_be_looked_up_are_no_annotations():
    parameters = Parameters.of(future_annotations.charge, False)
    assert list(parameters.typed) == ["amount"]
    assert isinstance(parameters.returns, type(converter_for(Decimal)))
    parameters = Parameters.of(future_annotations.unknown, False)
    assert (parameters.typed, parameters.returns, parameters.return_annotation) == ({}, None, "Missing")


class Given:
    is_dependency = True


def test_dependencies_are_not_arguments():
    def function(amount: Decimal, client: Annotated[Decimal, Given()], other: Annotated[Decimal, "x"]): ...

    assert list(Parameters.of(function, False).typed) == ["amount", "other"]


def test_what_kind_of_function_it_is_is_known():
    async def coroutine() -> Decimal: ...

    def generator() -> Iterator[Decimal]:
        yield Decimal(1)

    async def async_generator() -> AsyncIterator[Decimal]:
        yield Decimal(1)

    def model(effect: Effect) -> Effect: ...

    def kind(function):
        parameters = Parameters.of(function, False)
        return parameters.is_coroutine, parameters.is_generator, parameters.returns is not None

    assert kind(coroutine) == (True, False, True)
    assert kind(generator) == (False, True, False)
    assert kind(async_generator) == (True, True, False)
    assert kind(untyped) == (False, False, False)
    assert Parameters.of(generator, False).return_annotation is inspect.Signature.empty
    assert Parameters.of(model, False).needs_database
    assert not Parameters.of(typed, True).needs_database


# What is not annotated


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            datetime(2026, 1, 2),
            "annotate the parameter, so that it is read back as one (such as `when: datetime`).",
        ),
        (Size, "pass strings"),
        (Color.RED, "(such as `when: Color`)"),
        (Line(Decimal(1)), "(such as `when: Line`)"),
        (Effect(pk=1), "(such as `when: Effect`)"),
        ([Decimal(1)], "so that it is read back as one (such as `Decimal`)."),
        ({1}, "(such as `when: set`)"),
        (Unknown(), "pass strings, numbers, booleans, None, lists and dicts"),
    ],
)
def test_a_value_that_an_annotation_would_help_is_refused_with_advice(value, words):
    with pytest.raises(UnserializableValue) as caught:
        codec.dump_arguments([], {"when": value}, 1000)
    assert "which JSON cannot hold; " in str(caught.value)
    assert words in str(caught.value)


def test_what_a_function_returns_gets_advice_of_its_own():
    with pytest.raises(UnserializableValue, match="annotate what the function returns with Decimal, so that"):
        codec.dumps(Decimal(1), what="The return value")


class _Stopped(type):
    """As of libraries that stop the clock in tests: real moments are instances of what stands in for them."""

    def __instancecheck__(cls, value):
        return isinstance(value, cls.__mro__[1])


class StoppedDate(date, metaclass=_Stopped):
    pass


class StoppedDatetime(datetime, metaclass=_Stopped):
    pass


def stopped(
    when: StoppedDatetime,
    day: StoppedDate,
    either: StoppedDatetime | StoppedDate | None,
    by: dict[StoppedDate, int],
):
    pass


MOMENT = (2026, 1, 2, 3, 4, 5, 6)


@pytest.mark.once
@pytest.mark.parametrize("clock", [(StoppedDatetime, StoppedDate), (datetime, date)], ids=["stopped", "real"])
def test_a_stopped_clock_is_a_clock(clock):
    moment, day = clock[0](*MOMENT), clock[1](2026, 1, 2)
    parameters = Parameters.of(stopped, takes_context=False)
    stored, _ = parameters.encoded([moment, day, day, {day: 1}], {}, "stopped")
    assert stored == ["2026-01-02T03:04:05.000006", "2026-01-02", "2026-01-02", {"2026-01-02": 1}]
    read, _ = parameters.decoded(stored, {})
    assert read == [datetime(*MOMENT), date(2026, 1, 2), date(2026, 1, 2), {date(2026, 1, 2): 1}]
    assert {type(value) for value in read[:2]} == {datetime, date}
    with pytest.raises(TypeError):
        parameters.encoded([day, day, None, {}], {}, "stopped")


class Nanoseconds(datetime):
    """As of pandas: it knows more digits than a datetime does."""

    def isoformat(self, *args):
        return "2026-01-02T03:04:05.000006007"

    def __ne__(self, other):
        return self.year == 1 or super().__ne__(other)


def at(when: datetime):
    pass


@pytest.mark.once
def test_a_subclass_of_datetime_is_stored_as_a_datetime():
    parameters = Parameters.of(at, takes_context=False)
    stored, _ = parameters.encoded([Nanoseconds(*MOMENT)], {}, "at")
    assert stored == ["2026-01-02T03:04:05.000006"]
    with pytest.raises(UnstorableValue, match="cannot be stored"):
        parameters.encoded([Nanoseconds(1, 1, 1)], {}, "at")


def texts(one: str | UUID, other: str | None = None) -> str:
    return one


@pytest.mark.once
def test_lazy_text_is_text():
    parameters = Parameters.of(texts, takes_context=False)
    args, kwargs = parameters.encoded([gettext_lazy("Yes"), mark_safe("safe")], {}, "texts")
    assert codec.loads(codec.dump_arguments(args, kwargs, 1000)) == [["Yes", "safe"], {}]
    assert matches(str, gettext_lazy("Yes"))
    assert not matches(int, gettext_lazy("Yes"))
