"""How often one user may ask."""

from typing import Any

from rest_framework.settings import api_settings
from rest_framework.throttling import UserRateThrottle


class JobsThrottle(UserRateThrottle):
    """The rate of scope ``django_tasks_q`` in DEFAULT_THROTTLE_RATES; 600 requests a minute without one."""

    scope = "django_tasks_q"

    def get_rate(self) -> Any:
        return api_settings.DEFAULT_THROTTLE_RATES.get(self.scope, "600/min")
