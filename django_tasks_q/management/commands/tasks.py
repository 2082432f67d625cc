from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from ...forks import discard_output
from ..actions import ACTIONS, add_actions
from ..backends import commit_at_once
from ..dev import DEV, add_dev
from ..enqueue import ENQUEUE, add_enqueue
from ..output import Printer
from ..reports import REPORTS, add_reports
from ..schedules import SCHEDULES, add_schedules

#: Flags of all commands of Django, which are accepted after the verb too.
COMMON: dict[tuple[str, ...], dict[str, Any]] = {
    ("-v", "--verbosity"): {"type": int, "choices": [0, 1, 2, 3]},
    ("--settings",): {},
    ("--pythonpath",): {},
    ("--traceback",): {"action": "store_true"},
    ("--no-color",): {"action": "store_true"},
    ("--force-color",): {"action": "store_true"},
    ("--skip-checks",): {"action": "store_true"},
}
#: The status that a shell reports for a program that SIGPIPE ended.
READER_GONE = 141


class Command(BaseCommand):
    help = "Show tasks, jobs, queues, workers and schedules, and act on them."
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
        parser.set_defaults(verb="list", tag=None, json=False)
        for add in (add_reports, add_actions, add_enqueue, add_schedules, add_dev):
            for command in add(commands):
                if add is not add_dev:
                    command.add_argument("--json", action="store_true", help="print JSON, for programs")
                for flags, more in COMMON.items():
                    command.add_argument(*flags, default=SUPPRESS, help=SUPPRESS, **more)

    def handle(self, *args: Any, **options: Any) -> None:
        printer = Printer(self.stdout.write, as_json=options["json"])
        verb = options["verb"] or "list"
        try:
            commit_at_once(self)
            status = (REPORTS | ACTIONS | ENQUEUE | SCHEDULES | DEV)[verb](printer, options)
            self.stdout.flush()  # here, where a BrokenPipeError is handled
        except Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise CommandError(f"The database cannot be used: {reason}", returncode=2) from error
        except BrokenPipeError:
            discard_output(sys.stdout)  # as in "| head"
            raise SystemExit(READER_GONE) from None
        if status:
            raise SystemExit(status)
