"""Tasks of the tests. In every process that has this app, an illegal transition raises."""

from django_tasks_q.lifecycle import states

states.is_strict = True
