"""P15: enqueueing over HTTP against a view that does hardly anything."""

from __future__ import annotations

import json

from ..bench import Bench
from ..contenders.ours import OURS, OVER_HTTP
from ..figures import Key

#: What is asked, by the name that the table gives it: a task with ``api=True``, which asks for a permission,
#: one with a function of its own, and two views of REST framework that insert a row.
ASKED = {
    OURS.name: "open",
    f"{OURS.name}, own rule": "ruled",
    "bare view": "bare",
    "bare view, permission": "permitted",
}


def enqueue(bench: Bench) -> None:
    project = bench.project(OVER_HTTP)
    if project is None:
        return
    rates = Key("P15", "enqueue over HTTP")
    costs = Key("P15", "the same: processor time of a request", "ms")
    shares = Key("P15", "the same as a share of the bare view's rate", "%")
    for _ in range(bench.rounds):
        project.empty()
        found = json.loads(project.run(["-m", "tests.benchmarks.http", str(bench.jobs)]))
        for name, which in ASKED.items():
            bench.figures.add(rates, name, found[which]["rate"])
            bench.figures.add(costs, name, found[which]["cpu"] * 1000)
        for name in list(ASKED)[:2]:
            bench.figures.add(shares, name, 100 * found[ASKED[name]]["rate"] / found["bare"]["rate"])
