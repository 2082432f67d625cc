"""What people do to jobs, queues, workers and schedules: one set of verbs for every door, and for code.

Each is part of the caller's transaction, writes only where the state allows it, and may be repeated. What is
to be told of it, to workers or to receivers of ``action_performed``, is told once it is committed.
"""

from .audit import ADDITION, CHANGE, DELETION, record, told
from .cancellation import cancel, discard, dismiss
from .done import Again, CancelDone, Done, Matching, Reason
from .matching import BUDGET, Walk, gathered, matching
from .queues import limit, pause, resume
from .report import Report
from .rescheduling import change, reschedule, run_now
from .retention import delete, pin, unpin
from .retries import retry, run_again
from .schedules import (
    ScheduleDone,
    delete_schedule,
    disable_schedule,
    enable_schedule,
    run_schedule,
    save_schedule,
    skip_schedule,
)
from .selection import Selection
from .verbs import NAMED, Named
from .workers import stop_worker

__all__ = [
    "ADDITION",
    "BUDGET",
    "CHANGE",
    "DELETION",
    "NAMED",
    "Again",
    "CancelDone",
    "Done",
    "Matching",
    "Named",
    "Reason",
    "Report",
    "ScheduleDone",
    "Selection",
    "Walk",
    "cancel",
    "change",
    "delete",
    "delete_schedule",
    "disable_schedule",
    "discard",
    "dismiss",
    "enable_schedule",
    "gathered",
    "limit",
    "matching",
    "pause",
    "pin",
    "record",
    "reschedule",
    "resume",
    "retry",
    "run_again",
    "run_now",
    "run_schedule",
    "save_schedule",
    "skip_schedule",
    "stop_worker",
    "told",
    "unpin",
]
