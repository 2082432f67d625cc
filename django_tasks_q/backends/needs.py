"""What ``DatabaseBackend`` needs of modules that can only be imported once the apps are loaded.

In one plain module, since an import out of a package costs each enqueue some calls.
"""

from ..models import Attempt, Job
from ..models.identifiers import uuid7_texts
from ..results import Results, task_result
from ..storage import Send, storage_for
from ..waiting import sent_in

__all__ = ["Attempt", "Job", "Results", "Send", "sent_in", "storage_for", "task_result", "uuid7_texts"]
