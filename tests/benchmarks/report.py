"""The figures as a table of ratios, and as a page of Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

import django
import psycopg

from .bench import Bench
from .contenders.ours import OURS
from .figures import Figures, Key, shown

#: Rows of ours under several conditions, of which the first is the plain one.
ALONE = frozenset({"P7", "P8", "P9", "P13", "P14"})


def table(figures: Figures) -> Iterator[str]:
    """A line for each figure of each contender.

    A ratio beside a peer above 1 says that ours is better. Where ours is alone, it is to the row's first.
    """
    yield "| Row | What | Of | Median | Lowest to highest | Ratio |"
    yield "|---|---|---|---|---|---|"
    for key, values in figures.values.items():
        medians = figures.medians(key)
        for name, median in medians.items():
            spread = f"{shown(min(values[name]))} to {shown(max(values[name]))}"
            better = to_first(figures, key, name) if key.row in ALONE else ratio(key, name, medians)
            yield f"| {key.row} | {key.what} | {name} | {shown(median)} {key.unit} | {spread} | {better} |"


def to_first(figures: Figures, key: Key, name: str) -> str:
    verb = key.what.split()[0]
    first = next(one for one in figures.values if one.row == key.row and one.what.startswith(verb))
    share = figures.medians(key)[name] / figures.medians(first)[name]
    return "" if key == first else f"{share:.2f} of {first.what}"


def ratio(key: Key, name: str, medians: dict[str, float]) -> str:
    ours = next((medians[mine] for mine in medians if mine.startswith(OURS.name)), None)
    if name.startswith(OURS.name) or not ours or not medians[name]:
        return ""
    share = ours / medians[name] if key.unit == "/s" else medians[name] / ours
    return f"{share:.1f} ×"


def page(bench: Bench, command: str) -> str:
    lines = [
        "# Benchmark",
        "",
        f"Made by `{command}`: {bench.rounds} rounds, of which the median counts.",
        "The contenders took turns, each on empty tables, on the same server with its default durability.",
        "",
        f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"Django {django.get_version()}, psycopg {psycopg.__version__}, PostgreSQL {bench.server.version}.",
        "",
        *table(bench.figures),
        "",
        "## Who was measured",
        "",
        "| Name | Version | Set up as |",
        "|---|---|---|",
    ]
    for project in bench.used():
        contender = project.contender
        lines.append(f"| {contender.name} | {contender.package} {project.version} | {contender.setting} |")
    if bench.figures.remarks:
        lines += ["", "## What could not be had", "", *(f"- {remark}" for remark in bench.figures.remarks)]
    return "\n".join(lines) + "\n"


def command_line() -> str:
    return " ".join(["python -m tests.benchmarks", *sys.argv[1:]])
