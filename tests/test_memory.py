"""A worker does not grow with the number of its jobs."""

from pathlib import Path

import psutil
import pytest

from django_tasks_q.models import Job

from .tasksapp import tasks

pytestmark = pytest.mark.any_version

#: Jobs after which most of what is cached is there, and those that memory must not grow with.
WARM, MEASURED = 3000, 10_000
#: Bytes of growth for all of these. Allocators take some pages more now and then. The least that can be kept
#: of a job is a number in a list, which takes 36 bytes. A supervisor still grows by what it does every few
#: seconds: after 50,000 jobs it grows by 10 to 20 KB each 10,000. What it kept of each job takes a megabyte.
CHILD, SUPERVISOR = 150_000, 1_200_000


def private(pid):
    """Bytes of memory that only this process has, which pages that it shares do not count to."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("Private_Dirty:"))
    return int(line.split()[1]) * 1024


def test_memory_does_not_grow_with_the_number_of_jobs(project):
    if project.alias != "postgres":
        pytest.skip("what SQLite caches of its file grows to some megabytes, which take many more jobs")
    with project.worker("--processes", "1") as worker:

        def run(count):
            tasks.noop.enqueue_many([()] * count)
            project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == count, 60)
            Job.objects.all().delete()
            (server,) = psutil.Process(worker.pid).children()
            (child,) = server.children()
            return child.pid, private(child.pid), private(worker.pid)

        before, after = run(WARM), run(MEASURED)
    assert after[0] == before[0]
    assert after[1] - before[1] < CHILD
    assert after[2] - before[2] < SUPERVISOR
