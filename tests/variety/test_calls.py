"""A bounded run of draws; ``make variety`` goes on for longer. Each failure prints what repeats it."""

import os
import random
import time

from .draws import drawn
from .table import Table

#: Seconds of draws on each kind of database, and what they are multiplied by.
SECONDS = {"postgresql": 45.0, "sqlite": 20.0}
SCALE = float(os.environ.get("VARIETY_SECONDS", "65")) / 65


def test_draws_break_no_rule(project, tmp_path):
    from django.db import connections

    first = int(os.environ.get("VARIETY_SEED") or random.SystemRandom().randrange(1_000_000))
    seconds = SECONDS.get(connections[project.alias].vendor, 20.0) * SCALE
    begun, number = time.monotonic(), first
    print(f"the first seed is {first}")
    with Table.laid(project.alias, project.env, tmp_path) as table:
        while time.monotonic() - begun < seconds:
            draw = drawn(number)
            problems = table.play(draw)
            assert not problems, (
                f"python -m tests.variety --seed {number} --draws 1\n{draw.dumps()}\n"
                + "\n".join(problems[:10])
            )
            number += 1
    assert number > first
