from django.apps import AppConfig
from django.core import checks as django_checks
from django.utils.autoreload import autoreload_started
from django.utils.translation import gettext_lazy as _

from .requirements import has_framework


class DjangoTasksQConfig(AppConfig):
    name = "django_tasks_q"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks

        django_checks.register(checks.check_framework, "tasks")
        if not has_framework():
            return  # the check says what to install; without the framework there are no tasks

        from .definition.discovery import discover_tasks, watch_broken
        from .definition.registry import registry
        from .execution.job_log import take_over

        take_over()
        self.registry = registry
        discover_tasks()
        autoreload_started.connect(watch_broken)
        django_checks.register(checks.check_modules, "tasks")
        django_checks.register(checks.check_backends, "tasks")
        django_checks.register(checks.check_names, "tasks")
        django_checks.register(checks.check_driver, "tasks")
        django_checks.register(checks.check_schedules, "tasks")
        django_checks.register(checks.check_command_clash, "tasks")
        django_checks.register(checks.check_api, "tasks")
