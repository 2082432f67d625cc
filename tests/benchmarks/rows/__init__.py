"""What is measured, by the row's name."""

from collections.abc import Callable

from ..bench import Bench
from . import churn, crowded, drain, enqueue, hosts, http, idle, latency, strained, verbs

ROWS: dict[str, Callable[[Bench], None]] = {
    "P1": drain.noop,
    "P2": drain.orm,
    "P3": latency.latency,
    "P4": enqueue.one_at_a_time,
    "P5": enqueue.many_at_once,
    "P6": enqueue.by_many_processes,
    "P7": crowded.crowded,
    "P8": strained.snapshot,
    "P9": strained.gathered,
    "P10": idle.idle,
    "P11": drain.sqlite,
    "P12": verbs.verbs,
    "P13": hosts.hosts,
    "P14": churn.churn,
    "P15": http.enqueue,
}
