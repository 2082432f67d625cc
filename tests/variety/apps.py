"""An app whose one module of tasks does whatever a draw says."""

from django.apps import AppConfig


class Variety(AppConfig):
    name = "tests.variety"
