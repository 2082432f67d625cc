from django.apps import AppConfig


class WithoutFence(AppConfig):
    name = "tests.without_fence"

    def ready(self) -> None:
        """Let every attempt write to its job, whoever owns that by now."""
        from django_tasks_q.models import Job
        from django_tasks_q.storage import postgresql, sqlite
        from django_tasks_q.storage.orm import storage as orm
        from django_tasks_q.worker import lease

        def finish(self, outcomes):
            row = {"cancel_requested_at": None}
            for outcome in outcomes:
                Job.objects.using(self.alias).filter(id=outcome.job_id).update(**orm._changes(outcome, row))
            return {outcome.job_id: outcome.status for outcome in outcomes}

        for storage in (orm.Storage, postgresql.PostgreSQLStorage, sqlite.SQLiteStorage):
            storage.finish, storage.finish_and_claim = finish, orm.Storage.finish_and_claim
        lease.KILL = lease.STOP_CLAIMING = float("inf")
        orm.Storage.heartbeat = lambda self, worker_id, seconds, **told: True
