"""An app with the receivers that the environment names, and a file for what they hear."""

import os

from django.apps import AppConfig


class StoppingConfig(AppConfig):
    name = "tests.stopping"

    def ready(self) -> None:
        from . import receivers

        for name in os.environ.get("LISTEN", "").split():
            getattr(receivers, name)()
