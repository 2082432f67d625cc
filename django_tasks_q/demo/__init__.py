"""The demo: a small Django project that ``python -m django_tasks_q demo`` runs."""
