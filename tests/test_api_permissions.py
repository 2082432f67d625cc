"""Permissions are asked for in one query, and the answer is always Django's."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_tasks_q.api import permissions
from django_tasks_q.api.permissions import may

from .api_support import make_user
from .conftest import Router

BACKEND = "tests.test_api_permissions."


@pytest.fixture(autouse=True)
def alias(storage_alias: str, settings: Any) -> str:
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    return storage_alias


class Denying(BaseBackend):
    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        raise PermissionDenied


class Generous(BaseBackend):
    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return bool(user_obj.is_active)


class NoGroups(ModelBackend):
    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()


class LoginOnly(ModelBackend):
    """Changes nothing about permissions, as those of single sign-on do."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None


DJANGO_S = "django.contrib.auth.backends.ModelBackend"
BACKENDS = {
    "Django's": [DJANGO_S],
    "login": [f"{BACKEND}LoginOnly", DJANGO_S],
    "denying": [f"{BACKEND}Denying", DJANGO_S],
    "generous": [DJANGO_S, f"{BACKEND}Generous"],
    "no groups": [f"{BACKEND}NoGroups"],
}
#: Who has which permissions by themselves, and which by a group.
USERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, bool]]] = {
    "nobody": ((), (), {}),
    "by oneself": (("view_job", "add_job"), (), {}),
    "by a group": ((), ("view_job", "add_job"), {}),
    "by both": (("view_job",), ("add_job",), {}),
    "half": (("view_job",), (), {}),
    "others": (("change_job",), ("view_queue",), {}),
    "staff": ((), (), {"is_staff": True}),
    "superuser": ((), (), {"is_superuser": True}),
    "inactive": (("view_job", "add_job"), ("view_job", "add_job"), {"is_active": False}),
    "inactive superuser": ((), (), {"is_superuser": True, "is_active": False}),
}


def user_of(who: str) -> User:
    own, grouped, flags = USERS[who]
    user = make_user(*own, **flags)
    group, other = Group.objects.create(name="a"), Group.objects.create(name="b")
    group.permissions.set(Permission.objects.filter(codename__in=grouped))
    # A group that has everything is no help to who is not in it.
    other.permissions.set(Permission.objects.all())
    user.groups.add(group)
    return user


@pytest.mark.parametrize("backends", BACKENDS)
@pytest.mark.parametrize("who", USERS)
def test_permissions_are_always_those_of_the_backends(who: str, backends: str, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = BACKENDS[backends]
    id = user_of(who).pk
    for codenames in (("view_job",), ("add_job",), ("view_job", "add_job"), ("delete_job",)):
        expected = User.objects.get(pk=id).has_perms([f"django_tasks_q.{name}" for name in codenames])
        assert may(User.objects.get(pk=id), *codenames) is expected, codenames


@pytest.mark.parametrize("who", ["nobody", "by oneself", "by a group", "by both", "half"])
def test_one_query_is_asked(who: str, alias: str) -> None:
    user = User.objects.get(pk=user_of(who).pk)
    with CaptureQueriesContext(connections[alias]) as queries:
        may(user, "view_job", "add_job")
    assert len(queries) == 1


def test_a_permission_of_another_app_with_the_same_name_is_none(alias: str) -> None:
    user = make_user()
    kind = Permission.objects.get(codename="add_user").content_type
    user.user_permissions.add(Permission.objects.create(codename="view_job", content_type=kind))
    assert not may(User.objects.get(pk=user.pk), "view_job")


@pytest.fixture
def forgetful() -> Iterator[None]:
    permissions._is_plain_user.cache_clear()
    yield
    permissions._is_plain_user.cache_clear()


def test_a_user_with_rules_of_its_own_is_asked_itself(
    alias: str, forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_perm(self: User, perm: str, obj: Any = None) -> bool:
        return perm == "django_tasks_q.view_job"

    monkeypatch.setattr(User, "has_perm", has_perm, raising=False)
    user = User.objects.get(pk=user_of("by both").pk)
    assert may(user, "view_job")
    assert not may(user, "view_job", "add_job")


def test_a_user_who_is_no_row_is_asked_itself() -> None:
    class Token:
        is_authenticated = is_active = True

        def has_perms(self, names: list[str]) -> bool:
            return names == ["django_tasks_q.view_job"]

    assert may(Token(), "view_job")
    assert not may(Token(), "add_job")


def test_what_django_has_read_already_is_not_read_again(alias: str) -> None:
    user = User.objects.get(pk=user_of("by a group").pk)
    user.has_perm("django_tasks_q.view_job")
    with CaptureQueriesContext(connections[alias]) as queries:
        assert may(user, "view_job", "add_job")
    assert len(queries) == 0


def test_backends_that_override_methods_are_asked() -> None:
    assert permissions._is_plain(ModelBackend) and permissions._is_plain(LoginOnly)
    assert not any(map(permissions._is_plain, (BaseBackend, Denying, Generous, NoGroups)))
