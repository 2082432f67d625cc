"""Sphinx directives for the transitions between job states: ``{job-transitions}`` and ``{job-diagram}``.

Both read the table of transitions from the package while the documentation is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from django_tasks_q.lifecycle.states import FINAL, TRANSITIONS, JobStatus

#: Verbs of the table that are not implemented yet. A test fails as soon as one of them is.
NOT_YET = ("admit",)
#: Transitions whose verbs are implemented, but that cannot occur, because no job is ever WAITING.
NOT_YET_MOVES = {(JobStatus.WAITING, JobStatus.CANCELLED), (JobStatus.WAITING, JobStatus.EXPIRED)}

WIDTH, HEIGHT = 900, 420
BOX_WIDTH, BOX_HEIGHT = 118, 36

#: The centre of the box of each state.
PLACES = {
    JobStatus.SCHEDULED: (150, 60),
    JobStatus.WAITING: (70, 240),
    JobStatus.READY: (370, 150),
    JobStatus.RUNNING: (620, 150),
    JobStatus.SUCCESSFUL: (825, 60),
    JobStatus.FAILED: (825, 240),
    JobStatus.EXPIRED: (230, 385),
    JobStatus.CANCELLED: (480, 385),
}

#: How far an arrow bends to its left, as a share of its length, where it would cover another arrow.
BENDS = {
    (JobStatus.RUNNING, JobStatus.SCHEDULED): -0.12,
    (JobStatus.RUNNING, JobStatus.READY): -0.2,
    (JobStatus.READY, JobStatus.RUNNING): -0.2,
    (JobStatus.FAILED, JobStatus.READY): 0.22,
    (JobStatus.SCHEDULED, JobStatus.READY): -0.15,
    (JobStatus.READY, JobStatus.SCHEDULED): -0.15,
    (JobStatus.SCHEDULED, JobStatus.CANCELLED): -0.1,
    (JobStatus.CANCELLED, JobStatus.SCHEDULED): -0.1,
    (JobStatus.SCHEDULED, JobStatus.EXPIRED): -0.1,
    (JobStatus.EXPIRED, JobStatus.SCHEDULED): -0.1,
    (JobStatus.READY, JobStatus.CANCELLED): -0.1,
    (JobStatus.CANCELLED, JobStatus.READY): -0.1,
    (JobStatus.READY, JobStatus.EXPIRED): -0.1,
    (JobStatus.EXPIRED, JobStatus.READY): -0.1,
}

Move = tuple[JobStatus, JobStatus, str]
Point = tuple[float, float]


def moves() -> Iterator[Move]:
    """Yield every allowed transition with its verbs."""
    for start, ends in TRANSITIONS.items():
        for end, verb in ends.items():
            yield start, end, verb


def exists(move: Move) -> bool:
    """Return whether the transition can occur."""
    return move[2] not in NOT_YET and move[:2] not in NOT_YET_MOVES


def table() -> str:
    """Return the transitions as a Markdown table."""
    rows = ["| From | To | Transition | In use |", "|---|---|---|---|"]
    for move in moves():
        start, end, verb = move
        rows.append(f"| {start.value} | {end.value} | {verb} | {'yes' if exists(move) else 'no'} |")
    return "\n".join(rows)


def diagram() -> str:
    """Return the transitions as an SVG drawing in the colour of the surrounding text."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg"'
        ' aria-label="States of a job and the transitions between them, as in the table below"'
        ' style="max-width: 100%; font: 12px sans-serif" fill="none" stroke="currentColor">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor" stroke="none"/></marker></defs>',
    ]
    arrows, labels = zip(*map(_arrow, moves()), strict=True)
    parts += [*arrows, *labels]
    for status, (x, y) in PLACES.items():
        left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
        edge = 2.5 if status in FINAL else 1
        parts.append(
            f'<rect x="{left:g}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"'
            f' stroke-width="{edge}"/>'
            f'<text x="{x}" y="{y + 4}" text-anchor="middle" fill="currentColor" stroke="none"'
            f' font-weight="bold">{status.value}</text>'
        )
    return "".join([*parts, "</svg>"])


def _arrow(move: Move) -> tuple[str, str]:
    """Return the line of a transition and its label, which is drawn above all lines."""
    start, end, verb = move
    (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
    bend = BENDS.get((start, end), 0.0)
    control = ((x1 + x2) / 2 + (y2 - y1) * bend * 2, (y1 + y2) / 2 - (x2 - x1) * bend * 2)
    points = [_on_curve(PLACES[start], control, PLACES[end], step / 60) for step in range(61)]
    path = [point for point in points if not (_inside(point, start) or _inside(point, end))]
    line = " ".join(f"{x:.1f} {y:.1f}" for x, y in path)
    dashes = "" if exists(move) else ' stroke-dasharray="4 4" opacity="0.6"'
    x, y = path[len(path) // 2]
    return (
        f'<polyline points="{line}" marker-end="url(#tip)"{dashes}/>',
        f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" fill="currentColor" stroke-width="5"'
        f' stroke="var(--color-background-primary, white)" paint-order="stroke">{verb}</text>',
    )


def _on_curve(start: Point, control: Point, end: Point, share: float) -> Point:
    rest = 1 - share
    x, y = (
        rest * rest * a + 2 * rest * share * b + share * share * c
        for a, b, c in zip(start, control, end, strict=True)
    )
    return x, y


def _inside(point: Point, status: JobStatus) -> bool:
    x, y = PLACES[status]
    return abs(point[0] - x) <= BOX_WIDTH / 2 + 2 and abs(point[1] - y) <= BOX_HEIGHT / 2 + 2


class Transitions(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(table())


class Diagram(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", diagram(), format="html")]


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("job-transitions", Transitions)
    app.add_directive("job-diagram", Diagram)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
