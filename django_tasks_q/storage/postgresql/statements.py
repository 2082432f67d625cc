"""PostgreSQL's statements for the hot verbs.

``{job}`` and ``{attempt}`` are the tables, and ``{columns}`` what is returned of a claimed job.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...lifecycle.admission import admit
from ...lifecycle.states import JobStatus, require
from .. import claimable

#: The state to which a scheduled job is admitted once it is due.
ADMITTED = admit(keeps_place=True).status

# The transitions that the statements have in their texts.
require(JobStatus.READY, JobStatus.RUNNING)
require(JobStatus.RUNNING, JobStatus.SUCCESSFUL)
require(JobStatus.RUNNING, JobStatus.CANCELLED)
require(JobStatus.SCHEDULED, ADMITTED)

# In the index's own order, so that a claim reads what it takes and no more.
_FIRST = """
    SELECT id FROM {job}
    WHERE <condition><also>
    ORDER BY <order>
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED"""

# One queue's jobs lie together in the index of queues, so those of other queues cost nothing. Said as a
# range, and in its order, no other index will do: where nearly all jobs are of one queue, the planner expects
# any job to be of the queue that is asked for, and would read past all those of the other.
_OF_QUEUE = " AND queue_name BETWEEN <queue> AND <queue>"

_FIRST_OF_QUEUE = """
    SELECT id FROM {job}
    WHERE <condition><of_queue>
    ORDER BY queue_name, <order>
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED""".replace("<of_queue>", _OF_QUEUE.replace("<queue>", "%(queue)s"))

# More are read than are claimed, since another worker may be claiming the first ones.
_FIRST_OF_QUEUES = """
    SELECT job.id
    FROM queue CROSS JOIN LATERAL (
        SELECT id, priority FROM {job}
        WHERE <condition><of_queue>
        ORDER BY queue_name, <order>
        LIMIT 2 * %(limit)s
    ) AS top
    JOIN {job} AS job ON job.id = top.id
    ORDER BY <order_of_top>
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF job SKIP LOCKED""".replace("<of_queue>", _OF_QUEUE.replace("<queue>", "queue.name"))

_THESE_QUEUES = "queue AS (SELECT DISTINCT name FROM unnest(%(queues)s::text[]) AS queue(name)), "

# Those that have jobs ready, each found by one probe of the index, without the ones to leave alone.
_OTHER_QUEUES = """RECURSIVE present AS (
    (SELECT queue_name AS name FROM {job} WHERE status = 'READY' AND backend = %(backend)s
     ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (SELECT queue_name FROM {job}
            WHERE status = 'READY' AND backend = %(backend)s AND queue_name > present.name
            ORDER BY queue_name LIMIT 1)
    FROM present WHERE present.name IS NOT NULL
), queue AS (
    SELECT name FROM present WHERE name IS NOT NULL AND name <> ALL(%(excluded)s::text[])
), """


# The candidates are locked in a CTE that is evaluated once: in a plain subquery the planner may run
# LIMIT … SKIP LOCKED several times over (manual, 13.3.5). And a plan that is made before the limit is known
# would expect a tenth of the table, and read all of it, but for the number. COALESCE hides from the planner
# that the index of what is ready would do as well: on a small table it may, and the plan stays.
# The time is that of the lock: since the statement began another worker may have run the job, and had it made
# ready again.
_CLAIM = """
WITH <before>candidate AS MATERIALIZED (
    SELECT id, CLOCK_TIMESTAMP() AS moment FROM (<candidates>
    ) AS first LIMIT 200
)
UPDATE {job} AS job
SET status = 'RUNNING', fence = fence + 1, attempts = attempts + 1, worker_id = %(worker)s,
    started_at = COALESCE(started_at, candidate.moment), last_attempted_at = candidate.moment
FROM candidate
WHERE job.id = candidate.id AND COALESCE(job.status, '') = 'READY'
RETURNING {columns}
"""


def _claim(candidates: str, *, also: str = "", before: str = "") -> str:
    text = _CLAIM.replace("<candidates>", candidates).replace("<before>", before)
    text = text.replace("<condition>", claimable.CONDITION)
    text = text.replace("<order>", claimable.ORDER).replace("<order_of_top>", claimable.order_of("top"))
    return text.replace("<also>", also)


CLAIM = _claim(_FIRST)
#: Continues behind the last job that was claimed. While an old snapshot is open, every job that was ever
#: claimed still has an entry at the front of the index, and a claim from the start reads all of them.
CLAIM_ON = _claim(_FIRST, also=" AND priority = %(priority)s AND id > %(after)s")
#: For a worker of one queue, of some, and of all but some.
CLAIM_OF_QUEUE = _claim(_FIRST_OF_QUEUE)
CLAIM_OF_QUEUES = _claim(_FIRST_OF_QUEUES, before=_THESE_QUEUES)
CLAIM_OF_OTHERS = _claim(_FIRST_OF_QUEUES, before=_OTHER_QUEUES)

# READ COMMITTED checks the WHERE again on the newest version of each row (manual, 13.2.1): that makes
# "fence and status as I knew them" a fence. The row of the attempt is written with it or not at all.
# The planner takes the index of running jobs for a short list, and compares all with all. COALESCE keeps it
# from that: each row is found by its id.
FINISH = """
WITH ending AS MATERIALIZED (
    SELECT * FROM unnest(
        %(id)s::uuid[], %(fence)s::int[], %(status)s::text[], %(final)s::bool[], %(delay)s::float8[],
        %(result)s::text[], %(duration)s::float8[], %(kind)s::text[], %(recorded)s::bool[],
        %(uncounted)s::bool[], %(crashed)s::bool[], %(rescued)s::bool[], %(code)s::text[],
        %(exception)s::text[], %(message)s::text[], %(traceback)s::text[], %(exit_status)s::int[],
        %(data)s::text[]
    ) AS ending(id, fence, status, final, delay, result, duration, kind, recorded, uncounted, crashed,
                rescued, code, exception, message, traceback, exit_status, data)
){owned}, ended AS (
    UPDATE {job} AS job
    SET status = CASE WHEN job.cancel_requested_at IS NULL OR ending.final THEN ending.status
                      ELSE 'CANCELLED' END,
        result = ending.result,
        error_code = CASE WHEN job.cancel_requested_at IS NOT NULL AND NOT ending.final THEN 'CANCELLED'
                          WHEN ending.uncounted THEN job.error_code ELSE ending.code END,
        cancel_reason = CASE WHEN ending.status = 'CANCELLED' AND job.cancel_requested_at IS NULL
                              AND ending.message <> 'The job was cancelled.'
                             THEN LEFT(ending.message, 255) ELSE job.cancel_reason END,
        duration = CASE WHEN ending.uncounted THEN job.duration ELSE ending.duration END,
        attempts = job.attempts - (ending.uncounted OR ending.crashed)::int,
        crashes = job.crashes + ending.crashed::int,
        rescues = job.rescues + ending.rescued::int,
        finished_at = CASE WHEN ending.final OR job.cancel_requested_at IS NOT NULL
                           THEN STATEMENT_TIMESTAMP() END,
        run_after = CASE WHEN ending.delay IS NOT NULL AND job.cancel_requested_at IS NULL
                         THEN STATEMENT_TIMESTAMP() + ending.delay * INTERVAL '1 second'
                         ELSE job.run_after END
    FROM ending{of_owned}
    WHERE job.id = ending.id AND job.fence = ending.fence AND COALESCE(job.status, '') = 'RUNNING'
    RETURNING job.id, job.status, job.attempts::int + job.crashes + ending.uncounted::int AS number,
              job.last_attempted_at, job.worker_id
), attempt AS (
    INSERT INTO {attempt} (job_id, number, fence, worker_id, outcome, started_at, finished_at, duration,
                           error_code, exception_class, message, traceback, exit_status, data)
    SELECT ended.id, ended.number, ending.fence, ended.worker_id, ending.kind, ended.last_attempted_at,
           STATEMENT_TIMESTAMP(), ending.duration, ending.code, ending.exception, ending.message,
           ending.traceback, ending.exit_status, ending.data
    FROM ended JOIN ending USING (id)
    WHERE ending.recorded OR (ended.number > 1 AND NOT ending.uncounted)
)
SELECT id, status FROM ended
"""

# Fenced like an ending: what another worker has rescued in the meantime begins nowhere.
MARK = """
UPDATE {job} AS job SET begun_fence = job.fence
FROM unnest(%(id)s::uuid[], %(fence)s::int[]) AS attempt(id, fence)
WHERE job.id = attempt.id AND job.fence = attempt.fence AND COALESCE(job.status, '') = 'RUNNING'
RETURNING job.id, job.fence
"""

# Several workers may rescue the same jobs at once, while a slow one finishes them after all. A rescue waits
# for no lock, so it never takes part in a deadlock.
OWNED = """, owned AS MATERIALIZED (
    SELECT job.id FROM {job} AS job JOIN ending USING (id)
    WHERE job.fence = ending.fence AND COALESCE(job.status, '') = 'RUNNING'
    FOR NO KEY UPDATE OF job SKIP LOCKED
)"""

# The same for attempts that succeeded, which nearly all do: less to send and to compute. It returns what it
# could not write, which is nearly always nothing.
SUCCEED = """
WITH ending AS MATERIALIZED (
    SELECT * FROM unnest(%(id)s::uuid[], %(fence)s::int[], %(result)s::text[], %(duration)s::float8[])
        AS ending(id, fence, result, duration)
), ended AS (
    UPDATE {job} AS job
    SET status = 'SUCCESSFUL', result = ending.result, error_code = '', duration = ending.duration,
        finished_at = STATEMENT_TIMESTAMP()
    FROM ending
    WHERE job.id = ending.id AND job.fence = ending.fence AND COALESCE(job.status, '') = 'RUNNING'
    RETURNING job.id, job.attempts::int + job.crashes AS number, job.last_attempted_at, job.worker_id
), attempt AS (
    INSERT INTO {attempt} (job_id, number, fence, worker_id, outcome, started_at, finished_at, duration,
                           error_code, exception_class, message, traceback)
    SELECT ended.id, ended.number, ending.fence, ended.worker_id, 'successful', ended.last_attempted_at,
           STATEMENT_TIMESTAMP(), ending.duration, '', '', '', ''
    FROM ended JOIN ending USING (id)
    WHERE ended.number > 1
)
SELECT ending.id FROM ending LEFT JOIN ended USING (id) WHERE ended.id IS NULL
"""

#: What a new job has in the columns that have no default in the database.
STARTS_WITH: dict[str, int | str] = {"fence": 0, "attempts": 0, "crashes": 0, "error_code": ""}

INSERT = """
INSERT INTO {job} ({inserted}, <names>)
VALUES ({values}, <starts>)
""".replace("<names>", ", ".join(STARTS_WITH)).replace("<starts>", ", ".join(map(repr, STARTS_WITH.values())))

COPY = """
COPY {job} ({inserted}, <names>) FROM STDIN
""".replace("<names>", ", ".join(STARTS_WITH))

PROMOTE = """
UPDATE {job} SET status = '<admitted>'
WHERE status = 'SCHEDULED' AND id = ANY(ARRAY(
    SELECT id FROM {job}
    WHERE status = 'SCHEDULED' AND backend = %(backend)s AND run_after <= STATEMENT_TIMESTAMP()
    ORDER BY run_after
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
""".replace("<admitted>", ADMITTED.value)

# A shorter limit of the project's own stays.
LIMIT_TIME = """
SELECT CURRENT_SETTING('statement_timeout'), SET_CONFIG('statement_timeout', CASE
    WHEN CURRENT_SETTING('statement_timeout') = '0' THEN %(limit)s::text
    WHEN CURRENT_SETTING('statement_timeout')::interval > %(limit)s::interval THEN %(limit)s::text
    ELSE CURRENT_SETTING('statement_timeout')
END, true)
"""

RESTORE_TIME = """
SELECT SET_CONFIG('statement_timeout', %(limit)s::text, true)
"""

# One statement for a slice: the ORM's five, with five hundred ids in each, cost eight times as much.
_PRUNE = """
WITH old AS MATERIALIZED (<old>
){parts}
DELETE FROM {job} WHERE id = ANY(ARRAY(SELECT id FROM old))
"""
_OLD = """
    SELECT id FROM {job}
    WHERE backend = %(backend)s AND <which> AND pinned_at IS NULL
          AND finished_at < STATEMENT_TIMESTAMP() - %(seconds)s * INTERVAL '1 second'
    ORDER BY finished_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED"""
# Each state by a separate probe: others that end in between are kept for longer.
_OLD_OF_EACH = """
    SELECT job.id
    FROM unnest(%(statuses)s::text[]) AS ended(status) CROSS JOIN LATERAL (<old>
    ) AS job
    LIMIT %(limit)s""".replace(
    "<old>", _OLD.replace("<which>", "retention IS NULL AND status = ended.status")
)
PRUNE = _PRUNE.replace("<old>", _OLD_OF_EACH).replace(
    "<which>", "retention IS NULL AND status = ended.status"
)
PRUNE_RETAINED = _PRUNE.replace("<old>", _OLD).replace("<which>", "retention = %(seconds)s")


def parts(tables: Iterable[str]) -> str:
    """What goes with the jobs that a prune deletes."""
    text = ", part%d AS (DELETE FROM %s WHERE job_id = ANY(ARRAY(SELECT id FROM old)))"
    return "".join(text % numbered for numbered in enumerate(tables))
