"""``python -m tests.benchmarks``: speed beside the peers, in one run on one machine.

The servers are private, and PostgreSQL keeps its default durability. Each round starts from empty
tables, and the contenders take turns, so that a slow spell of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .bench import Bench
from .plot import svg
from .profile import profile
from .project import ROOT
from .report import command_line, page, table
from .rows import ROWS
from .server import private_server

#: What a developer waits for: rows that tell most, of ours and the nearest peer.
QUICK_ROWS = ("P1", "P2", "P3", "P4")


def main() -> int:
    options = _options()
    # A run that is asked to stop leaves no server and no namespace behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="django-tasks-q-bench-")))
        server = stack.enter_context(private_server(folder))
        bench = Bench(
            folder=folder,
            cache=options.cache,
            server=server,
            stack=stack,
            jobs=options.jobs,
            rounds=options.rounds,
            scale=1.0 if options.full else options.scale,
            peers=options.peers,
        )
        if options.profile:
            profile(bench)
            return 0
        failed = _run(bench, options)
    return 1 if failed else 0


def _run(bench: Bench, options: argparse.Namespace) -> bool:
    failed = False
    try:
        for name in options.rows:
            try:
                ROWS[name](bench)
            except (RuntimeError, OSError) as error:
                failed = True
                bench.figures.remark(f"{name} was given up: {error}")
    except KeyboardInterrupt:
        failed = True
        bench.figures.remark("The run was interrupted.")
    print("\n" + "\n".join(table(bench.figures)))
    if options.plot:
        options.plot.write_text(svg(bench.figures))
    if options.report:
        options.report.write_text(page(bench, command_line()))
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rows", type=_names, metavar="P1,P4", help=f"only these of {', '.join(ROWS)}")
    add("--peers", type=_names, metavar="A,B", help="only these peers, by the names of their distributions")
    add("--rounds", type=int, help="rounds, of which the median counts (default: 3)")
    add("--jobs", type=int, help="no-op jobs a peer drains in a round; ours four times as many (5000)")
    add("--quick", action="store_true", help="few jobs, one round, django-tasks-db as the only peer")
    add("--scale", type=float, default=0.1, help="share of the rows that P7 waits beside (%(default)s)")
    add("--full", action="store_true", help="the same as --scale 1")
    add("--report", type=Path, metavar="FILE", help="write a page of Markdown")
    add("--plot", type=Path, metavar="FILE", help="draw the rates as SVG")
    add("--profile", action="store_true", help="only tell where the processor time of a job goes")
    add("--cache", type=Path, default=ROOT / ".bench", help="where peers are installed (default: .bench)")
    options = parser.parse_args()
    options.rows = options.rows or (QUICK_ROWS if options.quick else tuple(ROWS))
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    options.peers = frozenset(options.peers) if options.peers else None
    if options.quick:
        options.peers = options.peers or frozenset({"django-tasks-db"})
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.jobs = options.jobs or (1000 if options.quick else 5000)
    options.cache = options.cache.resolve()
    return options


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
