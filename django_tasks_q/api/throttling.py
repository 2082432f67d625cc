"""Limits on how many requests a user may make."""

from typing import Any

from rest_framework.settings import api_settings
from rest_framework.throttling import UserRateThrottle


class JobsThrottle(UserRateThrottle):
    """The rate of scope ``django_tasks_q`` in DEFAULT_THROTTLE_RATES, by default 600 requests a minute."""

    scope = "django_tasks_q"
    default = "600/min"

    def get_rate(self) -> Any:
        return api_settings.DEFAULT_THROTTLE_RATES.get(self.scope, self.default)


class EnqueueThrottle(JobsThrottle):
    """The same with scope ``django_tasks_q_enqueue``, for requests that enqueue."""

    scope = "django_tasks_q_enqueue"


class ActionThrottle(JobsThrottle):
    """The same with scope ``django_tasks_q_action``, for requests that change something: 120 a minute."""

    scope = "django_tasks_q_action"
    default = "120/min"
