"""The only task of the project that ``scaling`` measures: all children of its worker are of one kind."""

from django_tasks_q import task


@task(name="scaling.noop")
def noop() -> None:
    pass
