"""An app whose receivers do what the environment asks of them."""

import os

from django.apps import AppConfig


class AttemptsConfig(AppConfig):
    name = "tests.attempts"

    def ready(self) -> None:
        from . import receivers

        for name in os.environ.get("RECEIVERS", "").split():
            getattr(receivers, name)()
