"""The admin's form that enqueues a task."""

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

import pytest
from django import forms
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from django_tasks_q import task
from django_tasks_q.admin.form_fields import inputs_of, spec_for
from django_tasks_q.models import Job

from .admin_support import HOSTILE, JOBS, TASKS, Page, make_job, page, staff

pytestmark = pytest.mark.django_db

NAME = "admin.enqueued"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(models.IntegerChoices):
    SMALL = 1, "Quite small"
    LARGE = 2, "Quite large"


class Hidden(IntEnum):
    ONE = 1


@dataclass
class Address:
    street: str
    number: int = 1


@task(name=NAME, admin=True, queue_name="admin", priority=3, tags=["x"])
def everything(
    text: str,
    number: int,
    share: float = 0.5,
    flag: bool = False,
    day: date = date(2026, 1, 31),
    moment: datetime | None = None,
    clock: time | None = None,
    length: timedelta = timedelta(minutes=90),
    price: Decimal = Decimal("9.90"),
    ident: UUID | None = None,
    colour: Colour = Colour.RED,
    size: Size | None = None,
    mode: Literal["fast", 2, None] = "fast",
    maybe: bool | None = None,
    words: list[str] = ["a"],  # noqa: B006
    address: Address | None = None,
    anything=None,
) -> None:
    """Take one of each."""


@task(name="admin.secret", admin=True, sensitive=["pin"])
def with_secrets(user: str, pin: int, api_token: str = "from the settings") -> None: ...


@task(name="admin.list_of_secrets", admin=True, sensitive=["values"])
def list_of_secrets(values: list[int]) -> None: ...


@task(name="admin.open", admin=True)
def with_any_names(first: int, /, *rest: int, word: str = "", **others: int) -> None: ...


@task(name="admin.closed")
def closed() -> None: ...


@task(name="admin.bare", admin=True, takes_context=True)
def bare(context: Any) -> None: ...


@task(name=HOSTILE, admin=True, description=HOSTILE)
def hostile(words: str = HOSTILE) -> None: ...


@task(name="admin.model", admin=True)
def of_a_user(user: User, note: str | None = None) -> None: ...


@task(name="admin.defaults_that_do_not_fit", admin=True)
def odd_defaults(
    raw: bytes = b"\x00\xff",
    lines: str = "one\ntwo",
    thing: Any = object,
    day: date = "soon",  # type: ignore[assignment]
    user: User | None = None,
    pin: bool = True,
) -> None: ...


def form_url(name: str = NAME) -> str:
    return f"{JOBS}enqueue/?task={quote(name)}"


def arguments(**values: Any) -> dict[str, Any]:
    return {f"argument-{name}": value for name, value in values.items()}


@pytest.fixture
def clerk() -> Client:
    return staff("view_job", "enqueue_job", "view_payload_job")


def stored(job: Job) -> Any:
    return json.loads(job.arguments)


# Who may


def test_form_is_for_those_with_its_permission_and_for_tasks_that_are_open(clerk: Client) -> None:
    # An unknown name and a task that is not open get the same response.
    for name in ("admin.closed", "admin.unknown", "", "os.system", "\x00"):
        for response in (clerk.get(form_url(name)), clerk.post(form_url(name))):
            assert response.status_code == 404, name
    for codenames in ((), ("view_job", "add_job", "change_job"), ("enqueue_job",)):
        other = staff(*codenames, name=f"with {len(codenames)}")
        assert other.get(form_url()).status_code == 403
        assert other.post(form_url("admin.bare")).status_code == 403
    assert Client().get(form_url()).status_code == 302
    assert not Job.objects.exists()
    assert clerk.get(form_url()).status_code == 200


def test_tasks_screen_links_to_the_form_of_open_tasks_only(clerk: Client) -> None:
    shown = clerk.get(TASKS).content.decode()
    assert f'href="{form_url()}"' in shown
    assert form_url("admin.closed") not in shown
    assert "enqueue/" not in staff("view_job", name="viewer").get(TASKS).content.decode()


def test_form_needs_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(form_url("admin.bare")).status_code == 403
    assert not Job.objects.exists()


def test_tasks_of_other_backends_are_not_offered(clerk: Client, settings: Settings) -> None:
    settings.TASKS = {
        **settings.TASKS,
        "default": {"BACKEND": "django_tasks_q.backends.ImmediateBackend", "QUEUES": []},
        "other": {"BACKEND": "django_tasks_q.backends.DatabaseBackend", "QUEUES": []},
    }
    assert clerk.get(form_url()).status_code == 404
    assert "enqueue/" not in clerk.get(TASKS).content.decode()


def scope_of_tests(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name=request.user.username)


def test_a_job_outside_of_the_users_scope_is_not_enqueued(settings: Settings) -> None:
    options = {"SCOPE_JOBS": "tests.test_admin_enqueue.scope_of_tests"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    tenant = staff("view_job", "enqueue_job", name="tenant")
    response = tenant.post(form_url("admin.bare"), {"queue_name": "other"})
    assert response.status_code == 400
    assert "may not see" in response.content.decode()
    assert not Job.objects.exists()
    assert tenant.post(form_url("admin.bare"), {"queue_name": "tenant"}).status_code == 302
    assert Job.objects.get().queue_name == "tenant"


# Fields


def test_fields_are_as_the_annotations_say(clerk: Client) -> None:
    form = clerk.get(form_url()).context_data["form"]
    kinds = {name: type(field).__name__ for name, field in form.fields.items() if "-" in name}
    assert list(kinds.values()) == [
        "CharField",
        "IntegerField",
        "FloatField",
        "BooleanField",
        "DateField",
        "DateTimeField",
        "TimeField",
        "DurationField",
        "DecimalField",
        "UUIDField",
        *["ChoiceField"] * 4,
        *["JsonArgument"] * 3,
    ]
    html = clerk.get(form_url()).content.decode()
    assert 'type="date" name="argument-day" value="2026-01-31"' in html
    assert '<option value="&quot;red&quot;" selected>RED</option>' in html
    assert "Quite small" in html
    assert "[&quot;a&quot;]" in html
    assert "list[str], as JSON" in html
    assert form.fields["argument-number"].help_text == "int. Required"
    assert form.fields["argument-ident"].help_text == "UUID | None. Leave empty for no value"
    assert 'name="queue_name" value="admin"' in html
    required = [name for name in kinds if form.fields[name].widget.attrs.get("required")]
    assert required == ["argument-text", "argument-number"]


def test_unchanged_form_enqueues_the_defaults(clerk: Client) -> None:
    form = clerk.get(form_url()).context_data["form"]
    given = {field.html_name: field.value() for field in form}
    sent = {name: value for name, value in given.items() if value not in (None, False)}
    response = clerk.post(form_url(), sent | arguments(text="t", number="1"))
    job = Job.objects.get()
    assert response.status_code == 302
    assert response["Location"] == page(job)
    assert stored(job) == [
        [],
        {
            "text": "t",
            "number": 1,
            "share": 0.5,
            "flag": False,
            "day": "2026-01-31",
            "moment": None,
            "clock": None,
            "length": "P0DT01H30M00S",
            "price": "9.90",
            "ident": None,
            "colour": "red",
            "size": None,
            "mode": "fast",
            "maybe": None,
            "words": ["a"],
            "address": None,
            "anything": None,
        },
    ]
    assert (job.queue_name, job.priority, job.status) == ("admin", 3, "READY")


def test_values_arrive_as_enqueue_would_store_them(clerk: Client) -> None:
    moment = "2026-03-01T12:30:05"
    sent = arguments(
        text=" two  words ",
        number="-7",
        share="1e3",
        flag="on",
        day="2026-02-28",
        moment=moment,
        clock="23:59:58",
        length="1 02:03:04",
        price="0.10",
        ident="12345678-1234-5678-1234-567812345678",
        colour='"blue"',
        size="2",
        mode="2",
        maybe="false",
        words='["ä", "b"]',
        address='{"street": "Main", "number": 3}',
        anything='{"a": [null]}',
    )
    assert clerk.post(form_url(), sent).status_code == 302
    args, kwargs = stored(Job.objects.get())
    read_args, read = everything.decoded(args, kwargs)
    assert not read_args
    assert read == {
        "text": " two  words ",
        "number": -7,
        "share": 1000.0,
        "flag": True,
        "day": date(2026, 2, 28),
        "moment": timezone.make_aware(datetime.fromisoformat(moment)),
        "clock": time(23, 59, 58),
        "length": timedelta(days=1, hours=2, minutes=3, seconds=4),
        "price": Decimal("0.10"),
        "ident": UUID("12345678-1234-5678-1234-567812345678"),
        "colour": Colour.BLUE,
        "size": Size.LARGE,
        "mode": 2,
        "maybe": False,
        "words": ["ä", "b"],
        "address": Address("Main", 3),
        "anything": {"a": [None]},
    }


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("text", "", "This field is required."),
        ("number", "", "This field is required."),
        ("number", "1.5", "whole number"),
        ("share", "nan", "Enter a number."),
        ("share", "inf", "Enter a number."),
        ("day", "2026-02-30", "Enter a valid date."),
        ("moment", "yesterday", "Enter a valid date/time."),
        ("clock", "25:00", "Enter a valid time."),
        ("length", "soon", "Enter a valid duration."),
        ("length", "99999999999999 00:00:00", "number of days must be between"),
        ("price", "Infinity", "Enter a number."),
        ("ident", "1", "valid UUID"),
        ("colour", '"green"', "Select a valid choice."),
        ("size", '"1"', "Select a valid choice."),
        ("words", "[1]", "Must be of type list[str]."),
        ("words", "[", "Enter a valid JSON."),
        ("words", "[" * 100_000, "nested too deeply"),
        ("address", '{"number": 2}', "Must be of type Address | None."),
        ("anything", "NaN", "which JSON cannot hold"),
        ("anything", '"\\ud800"', "lone surrogate"),
        ("text", "a\x00b", "Null characters are not allowed."),
    ],
)
def test_errors_are_shown_at_their_field(clerk: Client, name: str, value: str, message: str) -> None:
    sent = arguments(text="t", number="1") | arguments(**{name: value})
    response = clerk.post(form_url(), sent)
    assert response.status_code == 400
    errors = response.context_data["form"].errors
    assert list(errors) == [f"argument-{name}"]
    assert message in errors[f"argument-{name}"][0]
    assert f'id="id_argument-{name}_error"' in response.content.decode()
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "sent, field",
    [
        ({"priority": "101"}, "priority"),
        ({"priority": "x"}, "priority"),
        ({"queue_name": "a\nb"}, "queue_name"),
        ({"queue_name": "q" * 129}, "queue_name"),
        ({"at": "never"}, "at"),
    ],
)
def test_errors_of_options_are_shown_at_their_field(clerk: Client, sent: dict[str, str], field: str) -> None:
    response = clerk.post(form_url("admin.bare"), sent)
    assert response.status_code == 400
    assert list(response.context_data["form"].errors) == [field]
    assert "<details open>" in response.content.decode()
    assert not Job.objects.exists()


def test_queue_that_the_settings_do_not_name_is_refused(clerk: Client, settings: Settings) -> None:
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["default", "mail"]}}
    response = clerk.post(form_url("admin.bare"), {"queue_name": "male"})
    assert list(response.context_data["form"].errors) == ["queue_name"]
    assert "Did you mean &#x27;mail&#x27;?" in response.content.decode()


def test_options_of_the_job_are_those_of_the_form(clerk: Client) -> None:
    later = timezone.localtime() + timedelta(days=2)
    sent = {"queue_name": "mail", "priority": "-5", "at": later.strftime("%Y-%m-%dT%H:%M")}
    assert clerk.post(form_url("admin.bare"), sent).status_code == 302
    job = Job.objects.get()
    assert (job.queue_name, job.priority, job.status) == ("mail", -5, "SCHEDULED")
    assert job.run_after == later.replace(second=0, microsecond=0)
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_id) == (ADDITION, str(job.pk))
    assert "admin.bare" in entry.object_repr
    assert "Enqueue" in clerk.get(page(job)).content.decode()


def test_arguments_of_any_number_and_name(clerk: Client) -> None:
    url = form_url("admin.open")
    labels = [field.label for field in clerk.get(url).context_data["form"] if "-" in field.html_name]
    assert labels == ["first", "*rest", "word", "**others"]
    sent = arguments(first="1", rest="[2, 3]", others='{"more": 4}')
    assert clerk.post(url, sent).status_code == 302
    assert stored(Job.objects.get()) == [[1, 2, 3], {"word": "", "more": 4}]
    for values, name in (
        (arguments(first="1", rest='{"a": 1}'), "rest"),
        (arguments(first="1", rest='["a"]'), "rest"),
        (arguments(first="1", others="[1]"), "others"),
        (arguments(first="1", others='{"word": 1}'), "others"),
        (arguments(first="1", others='{"a b": 1}'), "others"),
        (arguments(first="1", others='{"context": 1}'), "others"),
        (arguments(first="1", others='{"more": "x"}'), "others"),
    ):
        response = clerk.post(url, values)
        assert list(response.context_data["form"].errors) == [f"argument-{name}"], values
    assert Job.objects.count() == 1


def test_instances_are_named_by_their_primary_key(clerk: Client) -> None:
    user = User.objects.get()
    assert clerk.post(form_url("admin.model"), arguments(user=str(user.pk))).status_code == 302
    args, kwargs = stored(Job.objects.get())
    assert of_a_user.decoded(args, kwargs) == ([], {"user": user, "note": None})
    response = clerk.post(form_url("admin.model"), arguments(user="x"))
    assert list(response.context_data["form"].errors) == ["argument-user"]


def test_defaults_that_no_field_can_hold_are_left_to_the_function(clerk: Client) -> None:
    url = form_url("admin.defaults_that_do_not_fit")
    form = clerk.get(url).context_data["form"]
    shown = {field.html_name: field.value() for field in form if "-" in field.html_name}
    assert shown == arguments(raw="AP8=", lines=None, thing="", day=None, user=None, pin=True)
    assert "Leave empty for the default" in form.fields["argument-lines"].help_text
    assert clerk.post(url, arguments(raw="AP8=")).status_code == 302
    assert stored(Job.objects.get()) == [[], {"raw": "AP8=", "user": None, "pin": False}]


# Secrets


def test_secrets_are_typed_hidden_and_masked_afterwards(clerk: Client) -> None:
    url = form_url("admin.secret")
    shown = clerk.get(url).content.decode()
    for name in ("pin", "api_token"):
        assert f'<input type="password" name="argument-{name}"' in shown
    assert "from the settings" not in shown.partition("<form")[2]
    # After an error the typed secret is neither in the form nor in the message.
    response = clerk.post(url, arguments(user="", pin="271828", api_token="canary"))
    assert "271828" not in response.content.decode()
    assert "canary" not in response.content.decode()
    assert list(response.context_data["form"].errors) == ["argument-user"]
    assert clerk.post(url, arguments(user="u", pin="271828", api_token="")).status_code == 302
    job = Job.objects.get()
    # An empty field without a shown default leaves the default to the function.
    assert stored(job) == [[], {"user": "u", "pin": 271828}]
    assert "271828" not in clerk.get(page(job)).content.decode()
    assert "271828" not in LogEntry.objects.get().change_message


def test_secret_that_does_not_fit_is_not_named(clerk: Client) -> None:
    url = form_url("admin.list_of_secrets")
    response = clerk.post(url, arguments(values='["canary"]'))
    assert response.context_data["form"].errors == {"argument-values": ["This value is invalid."]}
    assert "canary" not in response.content.decode()


# Declaring it


@pytest.mark.parametrize("value", ["yes", 1, lambda request: True])
def test_option_is_a_flag(value: Any) -> None:
    with pytest.raises(TypeError, match="admin must be True or False"):
        task(name="admin.bad", admin=value)(closed.func)


def test_option_is_declared_once_and_closed_by_default() -> None:
    assert closed.admin is False
    assert task.defaults(admin=True)(name="admin.defaults")(closed.func).admin is True
    with pytest.raises(TypeError, match="'admin' is not a task option"):
        closed.using(admin=True)  # type: ignore[call-arg]


def test_hostile_names_and_defaults_are_only_text(clerk: Client) -> None:
    for response in (clerk.get(form_url(HOSTILE)), clerk.post(form_url(HOSTILE), {"priority": "x"})):
        shown = Page(response)
        assert HOSTILE in shown.text
        assert shown.inline == []
        assert "alert" not in shown.code
        assert "svg onload" not in " ".join(shown.tags)
    assert clerk.post(form_url(HOSTILE), arguments(words=HOSTILE)).status_code == 302
    assert stored(Job.objects.get()) == [[], {"words": HOSTILE}]


def test_fields_of_odd_types_fall_back_to_json() -> None:
    for kind in (list[int], dict[str, Any], int | str, Any, Address, tuple[int, str], object, "Unknown"):
        assert type(spec_for(kind).field).__name__ == "JsonArgument", kind
    assert isinstance(spec_for(Hidden).field, forms.ChoiceField)
    names = [each.name for each in inputs_of(bare)]
    assert names == []


def test_form_costs_few_queries(clerk: Client, django_assert_max_num_queries: Any) -> None:
    make_job()
    clerk.get(form_url())
    with django_assert_max_num_queries(6):  # who asks: four of them
        clerk.get(form_url())
    assert connection.queries is not None
