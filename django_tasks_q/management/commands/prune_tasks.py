from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from ...maintenance.prune import SLICE, forget, prune
from ..backends import chosen, commit_at_once


class Command(BaseCommand):
    help = "Delete finished jobs whose retention is over, and clear results whose RESULT_TTL is over."
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--backend", help="alias in TASKS (default: all that store jobs)")

    def handle(self, *args: Any, **options: Any) -> None:
        commit_at_once(self)
        for backend in chosen(options["backend"]):
            count = 0
            try:
                while found := prune(backend.storage, backend.alias, backend.settings):
                    count += found
                while forget(backend.storage) >= SLICE:
                    pass
            except Error as error:
                raise CommandError(f"Database {backend.database!r} cannot be used: {error}") from error
            if options["verbosity"] > 0:
                self.stdout.write(f"{backend.alias}: {count} jobs deleted, or their results cleared.")
