"""Which permissions a user has been given, in one question where Django asks two."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connections, router

# Of the user's own and of the user's groups: what ModelBackend adds up.
HELD = """
SELECT permission.codename
FROM {permission} permission JOIN {kind} kind ON kind.id = permission.content_type_id
WHERE kind.app_label = %s AND permission.codename IN ({codenames}) AND (
    EXISTS (
        SELECT 1 FROM {own} own WHERE own.{own_permission} = permission.id AND own.{own_user} = %s
    ) OR EXISTS (
        SELECT 1 FROM {member} member JOIN {grant} granted ON granted.{grant_group} = member.{member_group}
        WHERE granted.{grant_permission} = permission.id AND member.{member_user} = %s
    )
)
"""


def held(user: Any, app_label: str, codenames: Collection[str]) -> set[str]:
    """Those of the permissions that a user, or a group of the user, has been given."""
    alias = router.db_for_read(Permission, instance=user)
    connection = connections[alias]
    own, member = user._meta.get_field("user_permissions"), user._meta.get_field("groups")
    grant: Any = Group._meta.get_field("permissions")
    names = {
        "permission": Permission._meta.db_table,
        "kind": ContentType._meta.db_table,
        "own": own.m2m_db_table(),
        "own_user": own.m2m_column_name(),
        "own_permission": own.m2m_reverse_name(),
        "member": member.m2m_db_table(),
        "member_user": member.m2m_column_name(),
        "member_group": member.m2m_reverse_name(),
        "grant": grant.m2m_db_table(),
        "grant_group": grant.m2m_column_name(),
        "grant_permission": grant.m2m_reverse_name(),
    }
    quoted = {name: connection.ops.quote_name(value) for name, value in names.items()}
    places = ", ".join(["%s"] * len(codenames))
    id = user._meta.pk.get_db_prep_value(user.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(HELD.format(codenames=places, **quoted), [app_label, *codenames, id, id])
        return {codename for (codename,) in cursor.fetchall()}
