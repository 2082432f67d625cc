"""What has happened to every job, written down by database triggers, so that no code under test is trusted.

The tables exist only while a test asks for them. They are not Django's: a task that writes its effect
must not depend on more than one statement on the task's own connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections

from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Job, Worker

COLUMNS = "job, old_status, new_status, old_fence, new_fence, begun_fence, owner, lease_end"
OWNER_LEASE = f"(SELECT lease_expires_at FROM {Worker._meta.db_table} WHERE id = NEW.worker_id)"
INSERTED = f"(NEW.id, NULL, NEW.status, NULL, NEW.fence, NEW.begun_fence, NEW.worker_id, {OWNER_LEASE})"
UPDATED = (
    f"(NEW.id, OLD.status, NEW.status, OLD.fence, NEW.fence, NEW.begun_fence, NEW.worker_id, {OWNER_LEASE})"
)
DELETED = "(OLD.id, OLD.status, NULL, OLD.fence, NULL, OLD.begun_fence, OLD.worker_id, NULL)"
#: Every write of an ending counts, also one that changes nothing but the time of it.
CHANGED = "OLD.status <> NEW.status OR OLD.fence <> NEW.fence OR OLD.finished_at {differs} NEW.finished_at"

POSTGRESQL = f"""
CREATE TABLE proof_audit (
    seq bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT CLOCK_TIMESTAMP(), job text NOT NULL,
    old_status text, new_status text, old_fence int, new_fence int, begun_fence int, owner text,
    lease_end timestamptz
);
CREATE TABLE proof_effect (
    job text NOT NULL, fence int NOT NULL, at timestamptz NOT NULL DEFAULT CLOCK_TIMESTAMP()
);
CREATE FUNCTION proof_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN INSERT INTO proof_audit ({COLUMNS}) VALUES {INSERTED};
        WHEN 'UPDATE' THEN INSERT INTO proof_audit ({COLUMNS}) VALUES {UPDATED};
        ELSE INSERT INTO proof_audit ({COLUMNS}) VALUES {DELETED};
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER proof_added AFTER INSERT OR DELETE ON {{job}} FOR EACH ROW EXECUTE FUNCTION proof_write();
CREATE TRIGGER proof_changed AFTER UPDATE ON {{job}} FOR EACH ROW
    WHEN ({CHANGED.format(differs="IS DISTINCT FROM")}) EXECUTE FUNCTION proof_write();
"""

SQLITE = f"""
CREATE TABLE proof_audit (
    seq integer PRIMARY KEY AUTOINCREMENT, at text DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    job text NOT NULL, old_status text, new_status text, old_fence int, new_fence int, begun_fence int,
    owner text, lease_end text
);
CREATE TABLE proof_effect (
    job text NOT NULL, fence int NOT NULL, at text DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);
CREATE TRIGGER proof_inserted AFTER INSERT ON {{job}}
    BEGIN INSERT INTO proof_audit ({COLUMNS}) VALUES {INSERTED}; END;
CREATE TRIGGER proof_changed AFTER UPDATE ON {{job}} WHEN {CHANGED.format(differs="IS NOT")}
    BEGIN INSERT INTO proof_audit ({COLUMNS}) VALUES {UPDATED}; END;
CREATE TRIGGER proof_deleted AFTER DELETE ON {{job}}
    BEGIN INSERT INTO proof_audit ({COLUMNS}) VALUES {DELETED}; END;
"""

MARIADB = f"""
CREATE TABLE proof_audit (
    seq bigint PRIMARY KEY AUTO_INCREMENT, at datetime(6) NOT NULL DEFAULT UTC_TIMESTAMP(6),
    job varchar(36) NOT NULL, old_status varchar(16), new_status varchar(16), old_fence int, new_fence int,
    begun_fence int, owner varchar(36), lease_end datetime(6)
);
CREATE TABLE proof_effect (
    job varchar(36) NOT NULL, fence int NOT NULL, at datetime(6) NOT NULL DEFAULT UTC_TIMESTAMP(6)
);
CREATE TRIGGER proof_inserted AFTER INSERT ON {{job}} FOR EACH ROW
    INSERT INTO proof_audit ({COLUMNS}) VALUES {INSERTED};
CREATE TRIGGER proof_changed AFTER UPDATE ON {{job}} FOR EACH ROW
    INSERT INTO proof_audit ({COLUMNS}) SELECT {UPDATED[1:-1]} FROM DUAL
    WHERE OLD.status <> NEW.status OR OLD.fence <> NEW.fence OR NOT OLD.finished_at <=> NEW.finished_at;
CREATE TRIGGER proof_deleted AFTER DELETE ON {{job}} FOR EACH ROW
    INSERT INTO proof_audit ({COLUMNS}) VALUES {DELETED};
"""

REMOVE = ("proof_inserted", "proof_added", "proof_changed", "proof_deleted")


class Event(NamedTuple):
    """One change of one job. A missing old status is an enqueue, a missing new one a deletion."""

    seq: int
    at: datetime
    job: UUID
    old: str | None
    new: str | None
    old_fence: int | None
    new_fence: int | None
    #: The begin mark, as it is after this change.
    begun_fence: int | None
    owner: UUID | None
    #: When the lease of the owner ends, as of this change; None where the owner is unknown.
    lease_end: datetime | None

    @property
    def is_claim(self) -> bool:
        return self.old != "RUNNING" and self.new == "RUNNING"

    @property
    def is_leave(self) -> bool:
        return self.old == "RUNNING" and self.new != "RUNNING"

    @property
    def is_ending(self) -> bool:
        return self.new in FINAL


class Effect(NamedTuple):
    """A trace that a run of a job has left on a connection of its own."""

    job: UUID
    fence: int
    at: datetime


@contextmanager
def audited(alias: str) -> Iterator[None]:
    """Write down what happens to the jobs of a database."""
    remove(alias)  # of a run that was killed
    install(alias)
    try:
        yield
    finally:
        remove(alias)


def install(alias: str) -> None:
    connection = connections[alias]
    job = connection.ops.quote_name(Job._meta.db_table)
    with connection.cursor() as cursor:
        match connection.vendor:
            case "postgresql":
                cursor.execute(POSTGRESQL.format(job=job))
            case "sqlite":
                cursor.executescript(SQLITE.format(job=job))
            case _:
                for statement in MARIADB.format(job=job).split(";\n")[:-1]:
                    cursor.execute(statement)


def remove(alias: str) -> None:
    connection = connections[alias]
    on = f" ON {connection.ops.quote_name(Job._meta.db_table)}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for trigger in REMOVE:
            cursor.execute(f"DROP TRIGGER IF EXISTS {trigger}{on}")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION IF EXISTS proof_write")
        cursor.execute("DROP TABLE IF EXISTS proof_audit")
        cursor.execute("DROP TABLE IF EXISTS proof_effect")


def leave_effect(alias: str, job: UUID | str, fence: int) -> None:
    """Say, in a statement of its own, that a run of a job has done its work."""
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO proof_effect (job, fence) VALUES (%s, %s)", [str(job), fence])


def events(alias: str) -> list[Event]:
    """Every change so far, job by job, each job's in the order in which they were made."""
    rows = _rows(alias, f"SELECT seq, at, {COLUMNS} FROM proof_audit ORDER BY job, seq")
    return [
        Event(
            seq, _moment(at), UUID(job), old, new, old_fence, new_fence, begun, _uuid(owner), _moment(lease)
        )
        for seq, at, job, old, new, old_fence, new_fence, begun, owner, lease in rows
    ]


def effects(alias: str) -> list[Effect]:
    rows = _rows(alias, "SELECT job, fence, at FROM proof_effect ORDER BY at")
    return [Effect(UUID(job), fence, _moment(at)) for job, fence, at in rows]


def _rows(alias: str, query: str) -> list[tuple]:
    with connections[alias].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _uuid(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


def _moment(value: str | datetime | None) -> datetime | None:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
