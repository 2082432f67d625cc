from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from ..deeds import DEEDS, add_deeds
from ..looks import LOOKS, add_looks
from ..printing import Printer
from ..schedules import SCHEDULES, add_schedules


class Command(BaseCommand):
    help = "Look at tasks, jobs, queues, workers and schedules, and act on them."
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
        parser.set_defaults(verb="list", tag=None, json=False)
        for add in (add_looks, add_deeds, add_schedules):
            for command in add(commands):
                command.add_argument("--json", action="store_true", help="for programs to read")

    def handle(self, *args: Any, **options: Any) -> None:
        printer = Printer(self.stdout.write, as_json=options["json"])
        verb = options["verb"] or "list"
        try:
            status = (LOOKS | DEEDS | SCHEDULES)[verb](printer, options)
        except Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise CommandError(f"The database cannot be used: {reason}", returncode=2) from error
        if status:
            raise SystemExit(status)
