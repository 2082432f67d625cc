"""What does not hold yet. Not collected: ``python -m pytest tests/proof/unresolved.py`` shows it."""

from django.db import transaction

from ..project import wait_for
from .test_races import ALIAS, ONE, Second, pytestmark, rescuing, storage, take, worker

__all__ = ["pytestmark", "storage"]


def test_a_lease_is_not_renewed_by_a_heartbeat_that_began_before_its_end(storage):
    """Its jobs are another's by the time it is written, so it must not be told that they are its own."""
    worker(storage, 0.5)
    job = take(storage)
    with transaction.atomic(using=ALIAS):
        alive = storage.heartbeat(ONE, 60.0)
        found = wait_for(lambda: Second(lambda: storage.lost("default")).result())
        rescue = Second(rescuing(storage, job))
        rescue.thread.join(20)
    assert [lost.id for lost in found] == [job.id]
    assert not (alive and rescue.result()), "renewed, and rescued as well"
