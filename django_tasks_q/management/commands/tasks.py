from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...descriptions import described, line
from ...exceptions import TaskNotRegistered
from ...registry import registry


class Command(BaseCommand):
    help = "Look at the tasks of this project."
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="verb", metavar="list|show")
        parser.set_defaults(tag=None, json=False)
        listing = commands.add_parser("list", help="all tasks, with where and how they run")
        listing.add_argument("--tag", help="only tasks with this tag")
        show = commands.add_parser("show", help="one task: its signature and all its options")
        show.add_argument("name", help="a name that jobs are stored under, a former one too")
        for command in (listing, show):
            command.add_argument("--json", action="store_true", help="for programs to read")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "show":
            self._show(options["name"], as_json=options["json"])
        else:
            self._list(options["tag"], as_json=options["json"])

    def _list(self, tag: str | None, *, as_json: bool) -> None:
        found = sorted(
            (task for task in registry if tag is None or tag in task.tags), key=lambda task: task.name
        )
        if as_json:
            self.stdout.write(json.dumps([described(task) for task in found], indent=2))
            return
        rows = [("TASK", "QUEUE", "RUNS IN", "ATTEMPTS", "DESCRIPTION"), *map(line, found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())

    def _show(self, name: str, *, as_json: bool) -> None:
        try:
            facts = described(registry.get(name))
        except TaskNotRegistered as error:
            raise CommandError(str(error)) from error
        if as_json:
            self.stdout.write(json.dumps(facts, indent=2))
            return
        width = max(map(len, facts))
        for key, value in facts.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            self.stdout.write(f"{key.ljust(width)}  {shown}".rstrip())
