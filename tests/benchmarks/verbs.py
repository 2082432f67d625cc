"""Run in our project by P12: claims and finishes in batches of 100, by storage or by hand."""

from __future__ import annotations

import sys
import time
from uuid import uuid4

import django

BATCH = 100


def by_storage() -> int:
    from django_tasks_q.lifecycle.outcome import Outcome
    from django_tasks_q.storage import Claim, storage_for

    storage = storage_for("default")
    storage.session.prepare_worker(15.0)  # as the parent of a worker does
    claim = Claim(worker_id=uuid4(), backend="default", task_names=["work.tasks.noop"])
    done = 0
    while jobs := storage.jobs.claim(claim, BATCH):
        written = storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.001) for job in jobs])
        done += len(written)
    return done


# The least that does the same: a bare table, one index, two prepared statements.
BARE = """
DROP TABLE IF EXISTS bare;
CREATE TABLE bare (LIKE django_tasks_q_job INCLUDING DEFAULTS);
ALTER TABLE bare ADD PRIMARY KEY (id);
INSERT INTO bare SELECT * FROM django_tasks_q_job;
CREATE INDEX bare_ready ON bare (priority DESC, id) WHERE status = 'READY';
"""
CLAIM = """
UPDATE bare SET status = 'RUNNING', fence = fence + 1, attempts = attempts + 1, worker_id = %(worker)s,
    started_at = now(), last_attempted_at = now()
WHERE id = ANY(ARRAY(SELECT id FROM bare WHERE status = 'READY' ORDER BY priority DESC, id
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING id, fence, task_name, arguments
"""
FINISH = """
UPDATE bare SET status = 'SUCCESSFUL', result = ending.result, duration = ending.duration, finished_at = now()
FROM unnest(%(id)s::uuid[], %(fence)s::int[], %(result)s::text[], %(duration)s::float8[])
    AS ending(id, fence, result, duration)
WHERE bare.id = ending.id AND bare.fence = ending.fence AND bare.status = 'RUNNING'
"""


def by_hand() -> int:
    import psycopg

    done, worker = 0, uuid4()
    with psycopg.connect(autocommit=True, prepare_threshold=0) as connection:
        while jobs := connection.execute(CLAIM, {"worker": worker, "limit": BATCH}).fetchall():
            count = len(jobs)
            endings = {
                "id": [job[0] for job in jobs],
                "fence": [job[1] for job in jobs],
                "result": ["1"] * count,
                "duration": [0.001] * count,
            }
            done += connection.execute(FINISH, endings).rowcount
    return done


if __name__ == "__main__":
    django.setup()
    verbs = {"storage": by_storage, "hand": by_hand}[sys.argv[1]]
    begun = time.perf_counter()
    count = verbs()
    print(count / (time.perf_counter() - begun))
