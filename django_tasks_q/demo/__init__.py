"""The queue at work: a small Django project of its own, started by ``python -m django_tasks_q demo``."""
