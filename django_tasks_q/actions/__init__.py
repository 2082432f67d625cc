"""The actions on jobs, queues, workers and schedules, for code, the admin, the REST API and the commands.

Each action is part of the caller's transaction, changes only what is in a state that allows it, and may be
repeated. Workers and receivers of ``action_performed`` are notified after the transaction has committed.
"""

from .audit import ADDITION, CHANGE, DELETION, change_message, record
from .cancellation import cancel, discard, dismiss
from .done import Again, CancelDone, Done, Matching, Reason
from .matching import BUDGET, Walk, collected, matching
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
    "change_message",
    "collected",
    "delete",
    "delete_schedule",
    "disable_schedule",
    "discard",
    "dismiss",
    "enable_schedule",
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
    "unpin",
]
