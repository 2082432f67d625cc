"""What ``DatabaseBackend`` needs of modules that can only be imported once the apps are loaded.

In one plain module, since an import out of a package costs each enqueue some calls.
"""

from ..models import Attempt, Job
from ..models.identifiers import uuid7_texts
from ..results.mapper import Results, settings_of, task_result
from ..results.waiter import ResultWaiter, sent_in
from ..storage import NewJobs, storage_for

__all__ = [
    "Attempt",
    "Job",
    "NewJobs",
    "ResultWaiter",
    "Results",
    "sent_in",
    "settings_of",
    "storage_for",
    "task_result",
    "uuid7_texts",
]
