"""The option ``memory``, and what is said of a process that the kernel has killed for want of memory."""

import json
import resource

import pytest
from django.core.checks import run_checks

from django_tasks_q import compat, task
from django_tasks_q.definition.task import Task
from django_tasks_q.execution import memory
from django_tasks_q.models import Attempt
from django_tasks_q.validation import memory_size
from django_tasks_q.worker import memory_kills
from django_tasks_q.worker.memory_kills import MemoryKills

from .conftest import on_one_database
from .tasksapp import tasks
from .test_worker import finished, job, options, outcomes

ONE_AT_A_TIME = ("--batch", "--processes", "1")


# While an attempt runs


@on_one_database
def test_an_attempt_that_uses_up_its_memory_fails_and_its_process_ends(project):
    first = tasks.use_memory.enqueue()
    greedy = [
        tasks.fill.using(max_attempts=2).enqueue("large"),
        tasks.fill.enqueue("small"),
        tasks.fill.using(dont_retry_on=["OUT_OF_MEMORY"], max_attempts=5).enqueue("large"),
        tasks.fill.enqueue("large, translate"),
        tasks.fill_async.enqueue(),
        tasks.fill_atomic.enqueue(),
    ]
    between = [tasks.use_memory.enqueue(200) for _ in greedy]
    done = project.run("runworker", *ONE_AT_A_TIME)
    finished(project, first, *greedy, *between)
    assert [outcomes(result) for result in greedy] == [["failed"] * 2, *[["failed"]] * 5]
    codes = [job(result).error_code for result in greedy]
    assert codes == [*["OUT_OF_MEMORY"] * 3, "UNHANDLED_EXCEPTION", *["OUT_OF_MEMORY"] * 2]
    assert "may use 67,108,864 bytes more" in greedy[0].errors[0].traceback
    assert [job(result).crashes for result in greedy] == [0] * 6
    assert [result.return_value[1:] for result in between] == [[False, True]] * 6
    assert all(result.return_value[0] != first.return_value[0] for result in between)
    assert done.stderr.count("has run out of memory, so its process ends") == 7


@on_one_database
def test_the_limit_ends_with_the_attempt_and_leaves_room_for_its_outcome(project):
    fits = tasks.use_memory.using(memory="64M").enqueue(32)
    too_much = tasks.use_memory.using(memory="64M").enqueue(100)
    chosen = tasks.use_memory.using(memory="200M").enqueue(100)
    swallowed = tasks.fill.enqueue("small, swallow")
    without = tasks.fill.using(memory=None)
    after = tasks.use_memory.enqueue(100)
    project.run("runworker", *ONE_AT_A_TIME)
    finished(project, fits, too_much, chosen, swallowed, after)
    values = [result.return_value for result in (fits, too_much, chosen, after)]
    assert [value[1:] for value in values] == [[True, True], [True, False], [True, True], [False, True]]
    assert len({value[0] for value in values}) == 1  # the same process
    assert swallowed.return_value == "x" * 900_000
    assert without.stored_options() == {"memory": None}


@on_one_database
def test_a_route_gives_a_limit(project, settings):
    given = settings.TASKS["default"]
    more = {**given.get("OPTIONS", {}), "ROUTES": {"*use_memory": {"memory": "64M"}}}
    settings.TASKS = {**settings.TASKS, "default": {**given, "OPTIONS": more}}
    by_route = tasks.use_memory.enqueue(100)
    own = tasks.use_memory.using(memory="200M").enqueue(100)
    project.run("runworker", *ONE_AT_A_TIME)
    finished(project, by_route, own)
    assert [result.return_value[1:] for result in (by_route, own)] == [[True, False], [True, True]]


@pytest.mark.once
def test_a_lower_limit_of_the_process_is_kept():
    before = resource.getrlimit(resource.RLIMIT_AS)
    lower = memory._size() + (32 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (lower, before[1]))
    try:
        within = memory.limit_memory(1 << 30, lambda: resource.getrlimit(resource.RLIMIT_AS))
        after = resource.getrlimit(resource.RLIMIT_AS)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert within == after == (lower, before[1])


# The option


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1 << 20, 1 << 20),
        ("1048576", 1 << 20),
        ("512M", 512 << 20),
        ("2 g", 2 << 30),
        ("1MiB", 1 << 20),
        ("64Mi", 64 << 20),
        ("2048K", 2 << 20),
        ("1T", 1 << 40),
    ],
)
def test_a_size_is_bytes_or_text(given, size):
    assert memory_size(given, "memory") == size


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (1.5, TypeError, "memory must be a number of bytes or text such as '512M', not 1.5"),
        (True, TypeError, "not True"),
        ("512MB", ValueError, "memory must be a number of bytes or text such as '512M', not '512MB'"),
        ("-1M", ValueError, "not '-1M'"),
        ("", ValueError, "not ''"),
        (512, ValueError, "memory must be between 1M and 1024T, not 512"),
        ("9" * 5000 + "T", ValueError, "memory must be"),
        (1 << 60, ValueError, "memory must be between"),
    ],
)
def test_another_size_is_refused(given, error, says):
    with pytest.raises(error, match=says):
        memory_size(given, "memory")
    with pytest.raises(error, match=says):
        tasks.noop.using(memory=given)


async def coroutine():
    pass


def plain():
    pass


@pytest.mark.once
def test_only_tasks_with_a_process_of_their_own_have_a_limit(settings):
    for func, more in ((plain, {"executor": "thread"}), (coroutine, {}), (coroutine, {"executor": "async"})):
        with pytest.raises(TypeError, match="runs several tasks in one: use executor='process'"):
            task(name="refused", memory="64M", **more)(func)
    for refused in (tasks.async_add, tasks.add_in_thread, tasks.leave_late_in_thread):
        with pytest.raises(compat.InvalidTask, match="memory limits a process"):
            refused.using(memory="64M")
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"EXECUTOR": "thread"}}}
    with pytest.raises(compat.InvalidTask, match="executor 'thread' runs several"):
        tasks.noop.using(memory="64M")


@pytest.mark.once
def test_checks_find_limits_that_cannot_be_enforced(settings, monkeypatch):
    def found():
        return [str(each) for each in run_checks(tags=["tasks"]) if each.id.endswith(("E019", "W006"))]

    assert found() == []
    routes = {"*async_add": {"memory": "64M"}}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": {"ROUTES": routes}}}
    (error,) = found()
    assert "async_add has a limit of memory that cannot be enforced: memory limits a process" in error
    monkeypatch.setattr(memory, "_LIMIT", None)
    assert any("This system cannot limit the memory" in each for each in found())
    assert memory.limit_memory(1 << 20, lambda: resource.getrlimit(resource.RLIMIT_AS)[0]) == -1


@pytest.mark.once
def test_a_stored_limit_that_cannot_be_read_is_left_out():
    name = tasks.noop.name
    assert Task.restored(name, {"memory": 1 << 30}).memory == 1 << 30
    assert Task.restored(name, {"memory": "much"}).memory is None


@on_one_database
def test_the_command_enqueues_with_a_limit(project):
    enqueue = ("tasks", "enqueue", tasks.use_memory.name)
    id = project.run(*enqueue, "--args", "[100]", "--memory", "64M").stdout.strip()
    project.run("runworker", *ONE_AT_A_TIME)
    assert tasks.use_memory.get_result(id).return_value[1:] == [True, False]
    refused = project.run(*enqueue, "--memory", "much", check=False)
    assert "memory must be a number of bytes or text such as '512M', not 'much'" in refused.stderr


# Kills by the kernel

NOTHING = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
OF_THE_GROUP = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n"
OF_THE_SYSTEM = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 2\noom_group_kill 0\n"


@on_one_database
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (OF_THE_GROUP, "by the kernel (SIGKILL) because the memory of its control group was used up"),
        (OF_THE_SYSTEM, "by the kernel (SIGKILL) because the memory of the system was used up"),
        (NOTHING, "by SIGKILL, which the worker has not sent (crash"),
        ("", "by SIGKILL, which the worker has not sent. The kernel may have, if memory was used up"),
    ],
)
def test_a_kill_by_the_kernel_is_named_as_such(project, tmp_path, text, reason):
    options(project, max_crashes=1)
    membership, events = tmp_path / "cgroup", tmp_path / "shop/workers/memory.events"
    events.parent.mkdir(parents=True)
    membership.write_text("4:memory:/other\n0::/shop/workers\n")
    events.write_text(NOTHING)
    constants = {
        f"{memory_kills.__name__}.MEMBERSHIP": str(membership),
        f"{memory_kills.__name__}.ROOT": str(tmp_path),
    }
    project.env["EXTRA_APPS"] = json.dumps(["tests.hardship"])
    project.env["HARDSHIP"] = json.dumps({"constants": constants})
    result = tasks.write_and_die.enqueue(str(events), text)
    project.run("runworker", *ONE_AT_A_TIME)
    finished(project, result)
    attempt = Attempt.objects.get(job_id=result.id)
    assert reason in attempt.message
    assert (attempt.exit_status, job(result).error_code) == (-9, "POISON")


@pytest.mark.once
def test_one_want_of_memory_explains_the_kills_of_one_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_kills, "ROOT", str(tmp_path))
    monkeypatch.setattr(memory_kills, "MEMBERSHIP", str(tmp_path / "cgroup"))
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.events").write_text(OF_THE_GROUP)
    kills = MemoryKills()
    assert "by SIGKILL, which" in kills.reason()  # what was counted before is not its
    (tmp_path / "memory.events").write_text(OF_THE_GROUP.replace("1", "2"))
    assert ["control group" in kills.reason() for _ in range(2)] == [True, True]
    monkeypatch.setattr(memory_kills, "TOGETHER", 0.0)
    assert "by SIGKILL, which" in kills.reason()
