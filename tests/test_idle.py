"""What a worker asks the database for while there is nothing to do."""

import uuid
from types import SimpleNamespace

from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_tasks_q.maintenance import loop
from django_tasks_q.maintenance.loop import Maintenance
from django_tasks_q.storage import storage_for

from .tasksapp import tasks

#: Seconds of idleness.
SPELL = 600
#: Seconds between two claims, as where notifications arrive.
PAUSE = 5.0


def test_maintenance_of_an_idle_worker_sends_a_statement_every_two_seconds_at_most(
    storage_alias, monkeypatch
):
    storage = storage_for(storage_alias)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))
    maintenance, worker_id = Maintenance(storage, tasks.noop.get_backend(), []), uuid.uuid4()
    maintenance.perform(worker_id, (), idle=True, poll_interval=PAUSE)
    with CaptureQueriesContext(connections[storage_alias]) as queries:
        until = clock.now + SPELL
        while clock.now < until:
            clock.now = min(until, clock.now + maintenance.seconds_to_next, clock.now + PAUSE)
            maintenance.perform(worker_id, (), idle=False, poll_interval=PAUSE)
    # Claims, heartbeats, queries of the control state and proofs of notifications are 28 a minute more:
    # a statement a second in all.
    assert len(queries) <= SPELL * 32 / 60
