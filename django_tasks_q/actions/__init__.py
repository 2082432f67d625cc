"""What people do to jobs, queues and workers: the same verbs for the admin, the REST API, commands and code.

Each is part of the caller's transaction, writes only where the state allows it, and may be repeated. What is
to be told of it, to workers or to receivers of ``action_performed``, is told once it is committed.
"""

from .answers import Again, CancelDone, Done, Matching, Reason
from .cancelling import cancel, discard, dismiss
from .keeping import delete, pin, unpin
from .matching import matching
from .queues import limit, pause, resume
from .running import retry, run_again
from .waiting import change, reschedule, run_now
from .workers import stop_worker

__all__ = [
    "Again",
    "CancelDone",
    "Done",
    "Matching",
    "Reason",
    "cancel",
    "change",
    "delete",
    "discard",
    "dismiss",
    "limit",
    "matching",
    "pause",
    "pin",
    "reschedule",
    "resume",
    "retry",
    "run_again",
    "run_now",
    "stop_worker",
    "unpin",
]
