"""What a worker asks the database for while there is nothing to do."""

import uuid
from types import SimpleNamespace

from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_tasks_q.storage import storage_for
from django_tasks_q.worker import maintenance as duties_module
from django_tasks_q.worker.maintenance import Maintenance

from .tasksapp import tasks

#: Seconds of idleness.
SPELL = 600
#: Seconds between two looks for jobs, as where hints come through.
PAUSE = 5.0


def test_the_duties_of_an_idle_worker_ask_every_two_seconds_at_most(storage_alias, monkeypatch):
    storage = storage_for(storage_alias)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(duties_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    duties, worker_id = Maintenance(storage, tasks.noop.get_backend(), []), uuid.uuid4()
    duties.perform(worker_id, (), idle=True, pause=PAUSE)
    with CaptureQueriesContext(connections[storage_alias]) as queries:
        until = clock.now + SPELL
        while clock.now < until:
            clock.now = min(until, clock.now + duties.seconds_to_next, clock.now + PAUSE)
            duties.perform(worker_id, (), idle=False, pause=PAUSE)
    # Claims, heartbeats, orders and proofs of hints are 28 a minute more: a statement a second in all.
    assert len(queries) <= SPELL * 32 / 60
