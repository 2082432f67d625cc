"""What Django's tests get in place of the backends they name, where DatabaseBackend is to show its contract.

Django's tests look into ``results`` of a backend that keeps what was enqueued, and expect another one to have
run a task when ``enqueue()`` returns. These classes add both, and nothing else.
"""

from django_tasks_q.backends import DatabaseBackend
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs


class DummyBackend(DatabaseBackend):
    """DatabaseBackend whose rows can be looked at as ``results``."""

    def __init__(self, alias, params):
        super().__init__(alias, params)
        self.shown = {}

    @property
    def results(self):
        ids = Job.objects.using(self.database).filter(backend=self.alias).order_by("id")
        found = [super(DummyBackend, self).get_result(str(id)) for id in ids.values_list("id", flat=True)]
        self.shown = {result.id: (result, result.status) for result in found}
        return found

    def get_result(self, result_id):
        # A test changes the status of what ``results`` has shown, and expects that to be stored.
        shown, status = self.shown.get(result_id, (None, None))
        if shown is not None and shown.status != status:
            Job.objects.using(self.database).filter(id=result_id).update(status=str(shown.status))
        return super().get_result(result_id)

    def clear(self):
        Job.objects.using(self.database).all().delete()


class ImmediateBackend(DatabaseBackend):
    """DatabaseBackend whose jobs run at once, through the worker's own code."""

    def enqueue(self, task, args, kwargs):
        result = super().enqueue(task, args, kwargs)
        run_jobs(backend=self.alias)
        result.refresh()
        return result
