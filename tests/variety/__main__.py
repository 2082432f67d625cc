"""``python -m tests.variety``: draws for as long as you like, or one of them again."""

from __future__ import annotations

import argparse
import logging
import math
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path


def main() -> int:
    arguments = _arguments()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    for name in ("django.tasks", "django_tasks"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # jobs that are cancelled here are told of here
    from ..proof.__main__ import _database
    from .table import Table

    number = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    with ExitStack() as stack:
        kinds = ["postgres", "sqlite"] if arguments.database is None else [arguments.database]
        tables = []
        for kind in kinds:
            alias, env = _database(kind)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            tables.append(stack.enter_context(Table.laid(alias, env, folder)))
        return _play(arguments, tables, number)


def _play(arguments, tables, number) -> int:
    from .draws import Draw, drawn

    if arguments.draw is not None:
        return _again(arguments, tables[0], Draw.loads(arguments.draw))
    begun, failed, count = time.monotonic(), 0, 0
    while time.monotonic() - begun < 60 * arguments.minutes and count < arguments.draws:
        table = tables[0] if len(tables) == 1 or number % 4 else tables[1]
        draw = drawn(number)
        count += 1
        if problems := table.play(draw):
            failed += 1
            said = f"seed {number}, {table.alias}, {count} draws and {time.monotonic() - begun:.0f} s"
            print(
                f"--- {said}\n    {draw.dumps()}",
                *(f"    {text[:500]}" for text in problems[:6]),
                sep="\n",
                flush=True,
            )
            if arguments.shrink:
                table.shrink(draw, problems)
            if arguments.first:
                return 1
        number += 1
    print(f"{count} draws up to seed {number - 1}, {failed} broke a rule")
    return int(failed > 0)


def _again(arguments, table, draw) -> int:
    found = [table.play(draw, verbose=True) for _ in range(arguments.times)]
    print(f"{sum(map(bool, found))} of {len(found)} plays broke a rule")
    if arguments.shrink and any(found):
        table.shrink(draw, next(filter(None, found)))
    return int(any(map(bool, found)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.variety", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to draw (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="the seed of the first draw; the next has the next")
    parser.add_argument(
        "--draws", type=float, default=math.inf, help="how many to draw at most: 1 repeats one"
    )
    parser.add_argument("--draw", help="play the draw that was printed as this text")
    parser.add_argument("--times", type=int, default=1, help="how often to play that one")
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="by default each gets its share")
    parser.add_argument("--first", action="store_true", help="stop at the first draw that breaks a rule")
    parser.add_argument("--shrink", action="store_true", help="look for less that breaks the same rule")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
