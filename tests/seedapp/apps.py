from django.apps import AppConfig


class SeedApp(AppConfig):
    name = "tests.seedapp"
