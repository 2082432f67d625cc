"""``python -m tests.proof``: chaos and soak runs of any length, on a database of their own."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psycopg


def main() -> int:
    arguments = _arguments()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    if arguments.command == "failover":
        return failover(arguments.seconds)
    from . import soak
    from .chaos import Chaos, Plan, random_seed
    from .kills import Kills
    from .kills import plan as kills_plan

    alias, env = _database(arguments.database)
    seed = random_seed() if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.command == "chaos":
            # Where faults went on for long, there may be much left to do.
            drain = 60.0 + 2 * arguments.seconds
            plan = Plan(seconds=arguments.seconds, seed=seed, without=tuple(arguments.without), drain=drain)
            report = Chaos(alias, env, Path(folder), plan).run()
            print(report)
        elif arguments.command == "kills":
            kills = Kills(alias, Path(folder))
            report = kills.run(
                env, kills_plan(arguments.kills, arguments.seconds, seed, workers=4, pause=0.1)
            )
            print(report, kills, sep="\n")
        else:
            gauge = soak.Gauge(alias)
            plan = soak.plan(arguments.seconds, seed, arguments.tasks)
            report = Chaos(alias, env, Path(folder), plan).run(gauge)
            report.problems += gauge.problems()
            print(gauge.markdown(report))
    return 1 if report.problems else 0


def failover(seconds: float) -> int:
    """Lose a primary server twice: with synchronous replication and without."""
    from .failover import Failover

    problems = []
    for synchronous in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            report = Failover(Path(folder), synchronous, before=seconds, after=seconds).run()
        print(report, *report.problems, sep="\n", flush=True)
        problems += report.problems
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("command", choices=["chaos", "failover", "kills", "soak"])
    parser.add_argument(
        "--seconds", type=float, help="how long faults go on at most (chaos 600, failover 10, else 1800)"
    )
    parser.add_argument("--seed", type=int, help="repeat an earlier run's choices")
    parser.add_argument("--database", choices=["sqlite", "postgres", "mariadb"], default="postgres",
                        help="mariadb as DATABASE_URL says")  # fmt: skip
    parser.add_argument("--kills", type=int, default=1000, help="kills after which a run of them is over")
    parser.add_argument("--tasks", type=int, default=200_000, help="tasks of a soak")
    parser.add_argument("--without", action="append", default=[], choices=["fence", "state", "lease"])
    arguments = parser.parse_args()
    if arguments.seconds is None:
        arguments.seconds = {"chaos": 600.0, "failover": 10.0, "kills": 1800.0, "soak": 1800.0}[
            arguments.command
        ]
    return arguments


def _database(kind: str) -> tuple[str, dict[str, str]]:
    """An alias with empty tables, and the environment of processes that use the same database."""
    from django.core.management import call_command
    from django.db import connections

    from tests import databases
    from tests.project import Project

    alias = {"sqlite": "default"}.get(kind, kind)
    url = databases.urls()[alias]
    if alias == "postgres":
        with psycopg.connect(databases.postgres_url(), autocommit=True) as connection:
            name = urlsplit(url).path.lstrip("/")
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
    elif alias == "mariadb":
        connection = connections[alias]
        with connection._nodb_cursor() as cursor:
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name}")
    call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    return alias, Project(alias, url, databases.directory()).env


if __name__ == "__main__":
    sys.exit(main())
