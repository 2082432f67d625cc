"""What web processes do, for the nursery to fork."""

from __future__ import annotations

import random
import time
from pathlib import Path

from django.db import Error, connection, transaction

from django_tasks_q.conf import Options
from django_tasks_q.maintenance.prune import forget, prune
from django_tasks_q.maintenance.rescue import rescue
from django_tasks_q.storage import storage_for

from . import mix, tasks


def enqueue(queue: str, count: int) -> None:
    """Enqueue some jobs in one transaction."""
    with transaction.atomic():
        for _ in range(count):
            tasks.quick.using(queue_name=queue).enqueue()


def keep(duty: str) -> None:
    """Do one of the duties that workers share, as they do: again, when the database had trouble."""
    storage, settings = storage_for("default"), Options()
    while True:
        try:
            if duty == "rescue":
                rescue(storage, "default", settings)
            else:
                prune(storage, "default", settings)
                forget(storage)
            return
        except Error:
            connection.close()


class Changed(Exception):
    """Somebody has thought better of it."""


def keep_enqueuing(journal: str, name: str, seed: int, per_second: float, limit: int) -> None:
    """Enqueue a few jobs at a time in transactions of which some are rolled back, until ``limit``.

    What is known of each goes to the journal, once it is known: not when the database was lost on the way.
    """
    chance = random.Random(seed)
    begun, count = time.monotonic(), 0
    with Path(journal).open("a", buffering=1) as lines:
        while count < limit:
            ids: list[str] = []
            try:
                with transaction.atomic():
                    for _ in range(chance.randint(1, 5)):
                        task, arguments = mix.draw(name, chance)
                        ids.append(task.enqueue(*arguments).id)
                    if chance.random() < 0.1:
                        raise Changed
                lines.writelines(f"committed {job}\n" for job in ids)
            except Changed:
                lines.writelines(f"rolled_back {job}\n" for job in ids)
            except Error:
                connection.close()
            count += len(ids)
            time.sleep(max(0.0, begun + count / per_second - time.monotonic()))
