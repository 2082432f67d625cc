"""What is measured, by the row's name."""

from collections.abc import Callable

from ..bench import Bench
from . import drain, enqueue, latency

ROWS: dict[str, Callable[[Bench], None]] = {
    "P1": drain.noop,
    "P2": drain.orm,
    "P3": latency.latency,
    "P4": enqueue.one_at_a_time,
    "P5": enqueue.many_at_once,
    "P6": enqueue.by_many_processes,
    "P11": drain.sqlite,
}
