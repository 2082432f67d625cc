"""Opens a session of the pool while the project is loaded, and gives it back, as a check of an app may."""

from django.apps import AppConfig
from django.db import connections


class PoolingConfig(AppConfig):
    name = "tests.pooling"

    def ready(self) -> None:
        if "other" in connections:
            connections.settings["other"]["ENGINE"] = self.name
            connections["other"].ensure_connection()
            connections["other"].close()
