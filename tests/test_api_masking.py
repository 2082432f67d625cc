"""Secrets are masked by name, wherever they are."""

import pytest

from django_tasks_q import task
from django_tasks_q.definition.sensitive import masked_arguments, secrets_of
from django_tasks_q.payload.masking import MASK, is_secret, masked, redacted


@task(name="masking.charge", sensitive=("card", "pins"))
def charge(order: int, card: str, password: str, *pins: int, **more: object) -> None:
    pass


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "new_password",
        "passwd",
        "secret",
        "client-secret",
        "clientSecret",
        "token",
        "accessToken",
        "tokens",
        "key",
        "api_key",
        "apikey",
        "apiKey",
        "x-api-key",
        "keys",
        "Authorization",
    ],
)
def test_names_that_sound_like_secrets_are(name: str) -> None:
    assert is_secret(name)
    assert masked({"a": [{name: {"deep": 1}}]}) == {"a": [{name: MASK}]}


@pytest.mark.parametrize("name", ["monkey", "keyboard", "keyed", "pass", "", 5, None, "order"])
def test_other_names_are_not(name: object) -> None:
    assert not is_secret(name)


def test_masking_leaves_the_value_alone() -> None:
    value = {"token": "t", "n": None, "key": None, "l": (1, {"secret": 2})}
    assert masked(value) == {"token": MASK, "n": None, "key": None, "l": [1, {"secret": MASK}]}
    assert value["token"] == "t"
    assert masked({"Card": 1, "cards": 2}, ["card"]) == {"Card": MASK, "cards": 2}


def test_arguments_are_masked_by_the_signature() -> None:
    args, kwargs = masked_arguments("masking.charge", [1, "4111", "hunter2", 12, 34], {"token": 1, "b": 2})
    assert args == [1, MASK, MASK, MASK, MASK]
    assert kwargs == {"token": MASK, "b": 2}
    assert masked_arguments("masking.charge", [1], {"card": "4111"}) == ([1], {"card": MASK})
    assert masked_arguments("masking.charge", [1, "4111"], {"b": 2}) == ([1, MASK], {"b": 2})


def test_all_arguments_of_an_unregistered_task_are_secret() -> None:
    given = [1, {"a": ["abcd"]}, None], {"card": 3, "name": "efgh"}
    assert masked_arguments("masking.unknown", *given) == ([MASK, MASK, None], {"card": MASK, "name": MASK})
    assert secrets_of("masking.unknown", *given) == {"abcd", "efgh"}


def test_secrets_are_taken_out_of_texts() -> None:
    secrets = secrets_of(
        "masking.charge", [1, "4111-1111", "hunter2", 12], {"more": {"token": ["abcd", True]}}
    )
    assert secrets == {"4111-1111", "hunter2", "abcd"}
    assert redacted("bad card 4111-1111 of hunter2", secrets) == f"bad card {MASK} of {MASK}"
    assert redacted("fine", set()) == "fine"
