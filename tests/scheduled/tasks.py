import json
import os

from django_tasks_q import schedule
from tests.tasksapp import tasks

for declared in json.loads(os.environ.get("SCHEDULES", "[]")):
    call = declared.pop("call", "noop")
    schedule(declared.pop("name"), getattr(tasks, call), **declared)
