from django_tasks_q import task

#: Where the jobs of each tenant are.
BACKENDS = {"acme": "default", "berlin": "eu"}


@task(name="sharded.invoice", backend="eu", queue_name="invoices")
def invoice() -> str:
    """Run in Europe, whoever asks."""
    return "invoice"


@task(name="sharded.report")
def report(tenant: str) -> str:
    return tenant


def report_for(tenant: str):
    """Enqueue a report in the database of a tenant."""
    return report.using(backend=BACKENDS[tenant], queue_name=tenant).enqueue(tenant)
