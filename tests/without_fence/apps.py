from django.apps import AppConfig


class WithoutFence(AppConfig):
    name = "tests.without_fence"

    def ready(self) -> None:
        """Let every attempt write to its job, whoever owns that by now."""
        from django_tasks_q.models import Job
        from django_tasks_q.storage import postgresql, sqlite
        from django_tasks_q.storage.orm import jobs as orm
        from django_tasks_q.storage.orm.workers import Workers
        from django_tasks_q.worker import lease

        def finish(self, outcomes):
            row = {"cancel_requested_at": None}
            for outcome in outcomes:
                Job.objects.using(self.alias).filter(id=outcome.job_id).update(**orm._changes(outcome, row))
            return {outcome.job_id: outcome.status for outcome in outcomes}

        for jobs in (orm.Jobs, postgresql.PostgreSQLJobs, sqlite.SQLiteJobs):
            jobs.finish, jobs.finish_and_claim = finish, orm.Jobs.finish_and_claim
        lease.KILL = lease.STOP_CLAIMING = float("inf")
        for workers in (Workers, sqlite.SQLiteWorkers):
            workers.heartbeat = lambda self, worker_id, lease, **columns: True
