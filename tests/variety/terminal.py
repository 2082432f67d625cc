"""Somebody at a terminal, who runs every command that looks, and then those that act."""

from __future__ import annotations

import io
import json
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from django.core.management import CommandError, call_command

from .pages import undone
from .seeds import Seeds


def lines(seeds: Seeds, schedules: tuple[str, ...], queues: tuple[str, ...]) -> list[list[str]]:
    """The command lines, without what names the program."""
    looks = [
        ["list"],
        ["jobs"],
        ["jobs", "--status", "failed", "--since", "2026-01-31T08:00"],
        ["jobs", "--since", "2h"],
        ["jobs", "--tag", "warehouse"],
        ["stats"],
        ["workers"],
        ["health"],
        ["health", "--queue", "mails", "--max-age", "1"],
        ["schedules"],
        *(["show", str(id)] for id in seeds.jobs[3:6]),
        ["show", "tests.variety.orders.tasks.ship"],
    ]
    acts = [
        *([verb, *map(str, seeds.jobs)] for verb in ("retry", "cancel", "discard")),
        ["retry", "--status", "failed", "--all"],
        ["retry", "--at", "2030-01-31T08:00", str(seeds.jobs[5])],
        *(["pause", name, "--until", "2h", "--reason", "why"] for name in queues),
        *(["resume", name] for name in queues),
        *(
            ["schedule", deed, name]
            for name in schedules[:2]
            for deed in ("enable", "run", "skip", "disable")
        ),
        ["prune"],
    ]
    return [*looks, *([*line, "--json"] for line in looks), *acts]


class Terminal:
    """Runs them, and keeps what is wrong with what they write."""

    def __init__(self, *aliases: str) -> None:
        self.aliases = aliases
        self.problems: list[str] = []

    def run(self, *arguments: str) -> str:
        """What a command writes; a problem where it ends by anything but a status or one line of error."""
        out, err = io.StringIO(), io.StringIO()
        told = f"$ manage.py tasks {' '.join(arguments)}"
        try:
            with undone(self.aliases), redirect_stdout(out), redirect_stderr(err):
                call_command("tasks", *arguments, stdout=out, stderr=err, no_color=True)
        except SystemExit as error:
            if error.code not in (0, 1):
                self.problems.append(f"{told}: ends with {error.code}")
        except CommandError as error:
            err.write(str(error))
            if "\n" in str(error) or error.returncode != 1:
                self.problems.append(f"{told}: {error}")
        except BaseException:
            self.problems.append(f"{told}\n{traceback.format_exc()[-3000:]}")
        text = out.getvalue() + err.getvalue()
        # Lines may be broken and stretched, and nothing else: a terminal obeys all other controls.
        if controls := sorted({c for c in text if not c.isprintable() and c != "\n"}):
            self.problems.append(f"{told}: writes {controls!r:.200}")
        if "--json" in arguments:
            self._check_json(told, out.getvalue())
        return text

    def _check_json(self, told: str, text: str) -> None:
        def refuse(name: str) -> Any:
            raise ValueError(f"{name} is not JSON")

        try:
            json.loads(text, parse_constant=refuse)
        except (RecursionError, ValueError) as error:
            self.problems.append(f"{told}: writes no JSON ({error!s:.100}): {text[:200]!r}")
