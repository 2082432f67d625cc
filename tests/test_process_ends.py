"""How processes end: every line of the page of that name, played by real processes."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from django_tasks_q import actions
from django_tasks_q.lifecycle.retry import UNCOUNTED_RESCUES
from django_tasks_q.models import Attempt, Job, Worker

from .conftest import on_one_database
from .ending import tasks as ending
from .project import MANAGE, ROOT
from .tasksapp import tasks
from .tcp_proxy import proxied
from .test_worker import finished, job, options, outcomes

PAGE = ROOT / "docs" / "explanation" / "process-ends.md"
TESTS = ROOT / "tests"

#: What is played below, by the line of the page: put here by ``plays``.
PLAYED: set[str] = set()


def plays(*lines: str) -> Callable[[Any], Any]:
    """Say which lines of the page a test shows."""
    PLAYED.update(lines)
    return lambda test: test


#: Lines that tests elsewhere show exactly, by their names.
ELSEWHERE = {
    # The supervisor
    "`--batch` and no job is left": ["test_a_batch_runs_what_is_there_and_ends"],
    "`--max-jobs` is reached": ["test_a_worker_stops_after_its_jobs"],
    "no child of any executor can be started": [
        "test_a_worker_that_can_start_nothing_at_all_ends_in_one_line",
        "test_children_that_cannot_start_end_a_batch_and_cost_no_job",
    ],
    "a signal to stop while it starts": ["test_a_signal_during_the_start_leaves_nothing_behind"],
    "a signal to stop while the interpreter exits": [
        "test_a_signal_that_comes_while_the_interpreter_ends_changes_no_status"
    ],
    "an argument or a setting is wrong": ["test_a_wrong_option_is_one_line"],
    "the database cannot be used at the start": [
        "test_an_unreachable_database_is_one_line",
        "test_missing_tables_are_one_line",
    ],
    "an executor cannot start": ["test_an_executor_that_cannot_start_harms_nothing_else_and_is_tried_again"],
    "no descriptor is left for another child": ["test_a_child_that_cannot_be_had_is_one_child_fewer"],
    "the lease is lost": [
        "test_a_frozen_worker_that_wakes_cannot_overwrite_the_new_result",
        "test_a_server_that_crashes_and_stays_away_is_waited_for",
    ],
    "SIGSTOP for longer than the lease": [
        "test_a_frozen_worker_that_wakes_cannot_overwrite_the_new_result",
        "test_children_that_the_own_lease_has_killed_are_no_crashes_of_their_jobs",
    ],
    "the machine is gone": ["test_the_jobs_of_a_killed_worker_are_finished_by_another"],
    "the worker stops": [
        "test_a_child_runs_what_it_has_registered_for_its_end",
        "test_receivers_have_time_for_the_last_job_and_hear_of_it_once",
    ],
    # Children
    "a limit of `--max-jobs-per-child` and the like": [
        "test_children_are_replaced",
        "test_threads_are_replaced_too",
    ],
    "a task has left the process changed": ["test_each_job_finds_its_process_as_the_first_did"],
    "a task has closed a standard stream": ["test_a_task_that_closes_a_stream_leaves_its_child_to_no_other"],
    "a task has left processes": [
        "test_a_child_ends_with_the_processes_that_its_modules_count_on",
        "test_nothing_that_a_task_started_outlives_its_attempt",
    ],
    "a cancellation, and the code ends": [
        "test_a_running_process_is_interrupted",
        "test_a_coroutine_is_cancelled",
    ],
    "a cancellation, and the code goes on": [
        "test_a_running_job_that_is_cancelled_is_interrupted_then_killed",
        "test_a_coroutine_that_ignores_its_cancellation_is_given_up",
        "test_a_thread_decides_itself_what_a_cancellation_ends",
    ],
    "a timeout, and a thread or coroutine goes on": [
        "test_a_thread_that_outlives_its_timeout_harms_no_sibling",
        "test_a_coroutine_that_outlives_its_timeout_harms_no_sibling",
    ],
    "a copy made by `os.fork()` comes back": [
        "test_a_copy_that_comes_back_ends_in_every_executor",
        "test_what_goes_around_a_task_is_left_by_the_original_alone",
    ],
    "its streams cannot be flushed": ["test_a_child_that_cannot_flush_its_streams_harms_no_sibling"],
    "an exit function hangs": ["test_an_exit_function_that_hangs_is_left_behind"],
    "its start fails": ["test_children_that_cannot_start_end_a_batch_and_cost_no_job"],
    "its start hangs": ["test_children_that_cannot_start_end_a_batch_and_cost_no_job"],
    "a receiver hangs": [
        "test_a_receiver_that_takes_too_long_does_not_keep_the_others_from_hearing",
        "test_a_receiver_that_hangs_is_killed_in_the_end",
    ],
    "a receiver ends the process": ["test_a_receiver_that_takes_its_process_down_does_so_twice_at_most"],
    "the supervisor is gone before it is ready": [
        "test_a_child_ends_quietly_where_its_supervisor_is_gone_before_it_is_ready"
    ],
    # The fork server
    "the worker ends": ["test_a_stop_waits_for_running_jobs_and_gives_back_the_rest"],
    "the lease is not renewed in time": [
        "test_children_that_the_own_lease_has_killed_are_no_crashes_of_their_jobs"
    ],
}


# The page


def lines_of_the_page() -> list[str]:
    return re.findall(r"^\| \*\*(.+?)\*\*", PAGE.read_text(), re.M)


@pytest.mark.once
def test_every_line_of_the_page_is_shown_by_a_test_and_the_other_way_round():
    lines = lines_of_the_page()
    assert not [line for line in lines if lines.count(line) > 1]
    assert set(lines) == PLAYED | set(ELSEWHERE)


@pytest.mark.once
def test_the_tests_elsewhere_are_there():
    known = {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name for names in ELSEWHERE.values() for name in names} <= known


@pytest.mark.once
def test_no_logger_of_the_supervisor_raises():
    plain = [
        f"{path.relative_to(ROOT)}:{number}"
        for room in ("maintenance", "scheduling", "worker")
        for path in (ROOT / "django_tasks_q" / room).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "getLogger(" in line
    ]
    assert plain == []


# The supervisor


@pytest.fixture
def scene(project, tmp_path):
    return Scene(project, tmp_path)


@dataclass
class Scene:
    """A worker with one process, which runs a job while others wait."""

    project: Any
    path: Path

    @property
    def mark(self) -> Path:
        return self.path / "mark"

    @contextmanager
    def working(
        self, *arguments: str, waiting: int = 3, trouble: tuple[str, ...] = (), **hardship: Any
    ) -> Iterator[Any]:
        env = self.project.env
        env["EXTRA_APPS"] = json.dumps(["tests.hardship", "tests.faults", "tests.ending"])
        env |= {"TROUBLE": json.dumps(trouble), "HARDSHIP": json.dumps(hardship)}
        self.running = tasks.wait_for_file.enqueue(str(self.path / "go"), str(self.mark))
        self.waiting = [tasks.noop.enqueue() for _ in range(waiting)]
        with self.project.worker("--processes", "1", *arguments) as worker:
            self.project.wait_for(lambda: self.mark.exists() or worker.process.poll() is not None)
            yield worker
            self.project.wait_for(lambda: worker.descendants() == set())
            self.output = worker.output

    def go(self) -> None:
        (self.path / "go").touch()

    def is_given_back(self, *, rescues: int = 0) -> None:
        """Nothing counts against a job, neither one that ran nor one that waited; the lease is ended."""
        row = job(self.running)
        assert (row.status, row.attempts, row.crashes, row.rescues) == ("READY", 0, 0, rescues)
        assert outcomes(self.running) == ["rescued" if rescues else "released"]
        self.nothing_else()

    def is_finished(self) -> None:
        assert (job(self.running).status, outcomes(self.running)) == ("SUCCESSFUL", [])
        self.nothing_else()

    def nothing_else(self) -> None:
        for result in self.waiting:
            row = job(result)
            assert row.status in ("READY", "SUCCESSFUL")
            assert (row.attempts, row.crashes) == (int(row.status == "SUCCESSFUL"), 0)
            assert set(outcomes(result)) <= {"released"}
        assert Worker.objects.get().stopped_at is not None


@plays("the first SIGTERM, SIGINT or SIGHUP", "a stop is requested in the admin, by REST or by Python")
@on_one_database
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP", "request"])
def test_a_stop_lets_running_jobs_finish(scene, how):
    options(scene.project, lease=5)
    with scene.working() as worker:
        if how == "request":
            actions.stop_worker(Worker.objects.get().id)
        else:
            worker.process.send_signal(getattr(signal, how))
        scene.project.wait_for(lambda: "waiting up to 25s for running jobs" in worker.output)
        scene.go()
        assert worker.process.wait(15) == 0
    scene.is_finished()
    assert ("asked to stop" in scene.output) == (how == "request")
    assert "Stopped: " in scene.output


@plays("the second signal", "the shutdown timeout is over")
@on_one_database
@pytest.mark.parametrize("how", ["second signal", "timeout"])
def test_a_stop_gives_back_what_does_not_finish(scene, how):
    with scene.working("--shutdown-timeout", "0.3" if how == "timeout" else "600") as worker:
        worker.process.terminate()
        if how == "second signal":
            scene.project.wait_for(lambda: "Stopping" in worker.output)
            worker.process.terminate()
        assert worker.process.wait(15) == 0
    scene.is_given_back()
    assert "1 released" in scene.output


@plays("the worker stops while it starts")
@on_one_database
def test_a_child_that_hangs_in_its_start_does_not_hold_up_a_stop(scene):
    constants = {"django_tasks_q.worker.shutdown.DISMISSAL_TIMEOUT": 0.3}
    with scene.working(constants=constants) as worker:
        never = tasks.never_begin.enqueue()
        scene.project.wait_for(lambda: len(worker.descendants()) == 3)
        scene.go()
        finished(scene.project, scene.running)
        assert worker.stop(10) == 0
    scene.is_finished()
    assert (job(never).status, job(never).attempts, outcomes(never)) == ("READY", 0, [])


CALLER = """
from django_tasks_q.embedding import run_worker

run_worker(processes=1, shutdown_timeout=0.5)
"""


@plays("the program that has called `run_worker()` is gone")
@on_one_database
def test_a_worker_stops_when_its_caller_is_gone(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.sleep.enqueue(600, str(mark))
    with project.program("shell", "--command", CALLER) as caller:
        project.wait_for(mark.exists)
        caller.process.kill()
        project.wait_for(lambda: caller.descendants() == set())
    assert (job(result).status, outcomes(result)) == ("READY", ["released"])
    assert Worker.objects.get().stopped_at is not None


@plays("an unexpected exception", "no memory is left in the supervisor")
@on_one_database
@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("raise", "RuntimeError: a fault"),
        ("memory", "CommandError: The system has too few resources for this worker: no memory is left."),
    ],
)
def test_an_error_of_the_supervisor_costs_no_job(scene, action, words):
    scene.project.env |= {"FAILPOINTS": f"finish.sending={action}", "FAILPOINT_MARKS": str(scene.path)}
    with scene.working(waiting=0) as worker:
        other = tasks.add_in_thread.enqueue(1, 2)
        assert worker.process.wait(15) == 1
    scene.is_given_back(rescues=int(action == "raise"))
    assert job(other).status == "SUCCESSFUL"  # its outcome had arrived, and is written
    assert words in scene.output
    assert ("Traceback" in scene.output) == (action == "raise")


@plays("no process can be forked at the start", "no process is left for another child")
@on_one_database
@pytest.mark.parametrize("trouble", ["forks", "forks of children"])
def test_a_system_without_processes_is_one_line(scene, trouble):
    with scene.working(
        "--batch", trouble=(trouble,), constants={"django_tasks_q.worker.starts.PAUSE": 0.01}
    ) as worker:
        assert worker.process.wait(15) == 1
    assert "Resource temporarily unavailable" in scene.output
    assert "Traceback" not in scene.output
    for result in (scene.running, *scene.waiting):
        assert (job(result).status, job(result).attempts, job(result).crashes) == ("READY", 0, 0)
    assert not Worker.objects.filter(stopped_at=None).exists()


@plays("the log cannot be written")
@on_one_database
def test_a_log_that_cannot_be_written_ends_nothing(scene):
    with scene.working(trouble=("log",)) as worker:
        # The end of a child that is killed as it starts is logged.
        tasks.begin_badly.enqueue()
        scene.project.wait_for(lambda: "not today" in worker.output)
        scene.go()
        finished(scene.project, scene.running, *scene.waiting)
        assert worker.stop() == 0
    scene.is_finished()


@plays("standard output or the disk behind it is full, or its reader is gone")
@on_one_database
@pytest.mark.parametrize("where", [">/dev/full", "| true"])
def test_output_that_cannot_be_written_changes_no_status(project, where):
    del project.env["PYTHONUNBUFFERED"]
    result = tasks.noop.enqueue()
    command = f"{sys.executable} {MANAGE} runworker --batch --processes 1"
    done = subprocess.run(
        ["bash", "-c", f"{command} {where}; exit ${{PIPESTATUS[0]}}"],
        env=project.env, cwd=project.directory, timeout=60, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert job(result).status == "SUCCESSFUL"


@plays("the standard descriptors are closed")
@pytest.mark.parametrize("storage_alias", ["postgres"], indirect=True)
@pytest.mark.django_db(transaction=True, databases=["postgres"])
def test_nothing_of_the_worker_takes_the_place_of_closed_descriptors(project):
    project.env["EXTRA_APPS"] = '["tests.ending"]'
    result = ending.write_to_descriptors.enqueue()
    command = f"exec {sys.executable} {MANAGE} runworker --batch --processes 1 <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], env=project.env, cwd=project.directory, timeout=60)
    assert done.returncode == 0
    assert finished(project, result).return_value == ["/dev/null"] * 3


@plays("the heartbeat file cannot be written")
@on_one_database
def test_a_heartbeat_file_that_cannot_be_written_is_logged_once(scene):
    options(scene.project, lease=2)
    folder = scene.path / "run"
    folder.mkdir()
    with scene.working("--heartbeat-file", str(folder / "beat")) as worker:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        scene.project.wait_for(lambda: "cannot be written" in worker.output)
        scene.go()
        finished(scene.project, scene.running)
        assert worker.stop() == 0
    scene.is_finished()
    assert scene.output.count("cannot be written: No such file or directory") == 1


@plays("the database is gone when it stops")
@pytest.mark.parametrize("storage_alias", ["postgres"], indirect=True)
@pytest.mark.django_db(transaction=True, databases=["postgres"])
def test_a_database_that_is_gone_does_not_hold_up_a_stop(scene):
    way = ExitStack()
    scene.project.env["DATABASE_URL"] = way.enter_context(proxied(scene.project.database_url)).url
    with way, scene.working("--shutdown-timeout", "0.3") as worker:
        way.close()
        worker.process.terminate()
        assert worker.process.wait(30) == 0
    row = job(scene.running)
    assert (row.status, outcomes(scene.running)) == ("RUNNING", [])  # until the lease ends
    assert "Jobs could not be given back; they return when the lease ends." in scene.output
    assert "The worker's lease could not be ended" in scene.output
    assert "Traceback" not in scene.output


@plays(
    "SIGKILL, or another signal that it does not handle",
    "the supervisor is gone while it runs a task",
    "the supervisor is gone",
)
@on_one_database
@pytest.mark.parametrize("apart", [False, True])
def test_nothing_of_a_worker_that_is_gone_is_left(project, tmp_path, apart):
    project.env["EXTRA_APPS"] = '["tests.ending"]'
    options(project, lease=2)
    mark = tmp_path / "mark"
    result = ending.run_program.enqueue(str(mark), apart=apart)
    waiting = tasks.add_in_thread.enqueue(1, 2)  # leaves a child that is idle
    with project.worker("--processes", "1", "--threads", "1") as worker:
        finished(project, waiting)
        project.wait_for(mark.exists)
        of_it = {process.pid for process in worker.descendants()}
        assert {int(pid) for pid in mark.read_text().split()} <= of_it
        worker.process.send_signal(signal.SIGUSR1 if apart else signal.SIGKILL)
        assert worker.process.wait(5) == -(signal.SIGUSR1 if apart else signal.SIGKILL)
        project.wait_for(lambda: not any(map(psutil.pid_exists, of_it)))
    assert (job(result).status, outcomes(result)) == ("RUNNING", [])
    with project.worker("--processes", "1"):
        project.wait_for(lambda: outcomes(result) == ["rescued"])
    assert job(result).crashes == 0


# The fork server


@plays("it is killed", "it fails", "the fork server is gone")
@on_one_database
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_a_fork_server_that_is_gone_ends_the_worker(scene, how):
    with scene.working(trouble=("fork server",)) as worker:
        (server,) = psutil.Process(worker.pid).children()
        if how == "kill":
            server.kill()
        else:
            tasks.add_in_thread.enqueue(1, 2)  # needs a second child
        assert worker.process.wait(15) == 1
    scene.is_given_back(rescues=1)
    assert "CommandError: The process that starts children is gone." in scene.output
    assert scene.output.count("Traceback") == scene.output.count("RuntimeError: a mistake") == (how == "fail")


@on_one_database
@pytest.mark.parametrize(
    ("task", "how"),
    [
        (ending.end_worker, "kill the fork server"),
        (ending.end_worker_in_thread, "harm the supervisor"),
    ],
)
def test_a_job_that_ends_every_worker_is_poison_in_the_end(project, task, how):
    project.env["EXTRA_APPS"] = '["tests.ending"]'
    project.env["TROUBLE"] = '["progress"]'
    options(project, max_crashes=2)
    poison = task.enqueue(how)
    for _ in range(2 + UNCOUNTED_RESCUES):
        assert project.run("runworker", "--batch", "--processes", "1", check=False).returncode == 1
    project.run("runworker", "--batch")
    assert outcomes(poison) == ["rescued"] * UNCOUNTED_RESCUES + ["lost"] * 2
    row = job(poison)
    assert (row.status, row.error_code, row.crashes, row.rescues) == (
        "FAILED",
        "POISON",
        2,
        UNCOUNTED_RESCUES,
    )


PARENT_SIDE = "django_tasks_q.worker.children.parent_side"


@plays("it hangs", "the fork server does not respond")
@on_one_database
def test_a_fork_server_that_hangs_ends_the_worker(scene):
    constants = {
        f"{PARENT_SIDE}.BOOT_TIMEOUT": 1.0,
        "django_tasks_q.worker.children.fork_server.STOP_TIMEOUT": 0.2,
    }
    with scene.working(constants=constants) as worker:
        (server,) = psutil.Process(worker.pid).children()
        server.suspend()
        tasks.add_in_thread.enqueue(1, 2)  # needs another child
        assert worker.process.wait(15) == 1
    scene.is_given_back(rescues=1)
    assert "CommandError: The process that starts children does not respond." in scene.output


@plays("it is killed and does not end", "a killed child does not end")
@on_one_database
@pytest.mark.parametrize("stops", [False, True])
def test_no_job_waits_for_a_killed_process_that_does_not_end(scene, stops):
    """As one that the kernel holds up: its end is not reported, here since the fork server is stopped."""
    options(scene.project, grace=0.2)
    constants = {
        f"{PARENT_SIDE}.KILL_TIMEOUT": 0.5,
        "django_tasks_q.worker.shutdown.DISMISSAL_TIMEOUT": 0.2,
        "django_tasks_q.worker.children.fork_server.STOP_TIMEOUT": 0.2,
    }
    with scene.working("--shutdown-timeout", "0.1", constants=constants) as worker:
        (server,) = psutil.Process(worker.pid).children()
        child = psutil.Process(int(scene.mark.read_text()))
        child.suspend()
        server.suspend()
        if stops:
            worker.process.terminate()
            assert worker.process.wait(15) == 0
        else:
            actions.cancel(scene.running.id)
            scene.project.wait_for(lambda: job(scene.running).status == "CANCELLED")
            server.resume()
            finished(scene.project, *scene.waiting)
            assert worker.stop() == 0
    if stops:
        scene.is_given_back()
    assert f"Child process {child.pid} was killed and does not end" in scene.output


# Children


class Found(NamedTuple):
    """What became of a job with one attempt, where one crash is the most."""

    status: str
    error: str | None
    attempts: int
    crashes: int
    outcomes: list[str]
    says: str


CRASHED = ("FAILED", "POISON", 0, 1, ["crashed"])
FAILED = ("FAILED", "UNHANDLED_EXCEPTION", 1, 0, ["failed"])
LATE = ("FAILED", "TASK_TIMEOUT", 1, 0, ["timeout"])

#: By the line of the page: what ends a child, in which tasks, and what becomes of the job.
CHILDREN = {
    "`os._exit()`": ("os._exit", Found(*CRASHED, "exited with status 0 without an answer")),
    "a signal kills it: a person, the kernel without memory": (
        "kill",
        Found(*CRASHED, "killed by SIGKILL"),
    ),
    "the interpreter crashes": ("segfault", Found(*CRASHED, "killed by SIGSEGV")),
    "a task closes all file descriptors": (
        "close",
        Found(*CRASHED, "exited with status 1 without an answer"),
    ),
    "`MemoryError` in a task": ("memory", Found("FAILED", "OUT_OF_MEMORY", 1, 0, ["failed"], "MemoryError")),
    "`sys.exit()` in a task": ("sys.exit", Found(*FAILED, "SystemExit")),
    "`KeyboardInterrupt` in a task": ("interrupt", Found(*FAILED, "KeyboardInterrupt")),
}
#: The same, of tasks that outlive their timeout.
LATE_CHILDREN = {
    "a timeout, and the code ends": [(ending.be_late, ["sleep"]), (ending.be_late_in_loop, [])],
    "a timeout, and the code goes on in a process": [(ending.be_late, ["stop"])],
    "a coroutine blocks the event loop": [(ending.block_loop, [])],
}
KINDS = {"process": ending.end_process, "thread": ending.end_thread, "async": ending.end_loop}


def found(result: Any, says: str = "") -> Found:
    """Look at a job, and whether its last attempt says something."""
    row, attempts = job(result), Attempt.objects.filter(job_id=result.id)
    text = "".join(f"{attempt.exception_class}: {attempt.message}" for attempt in attempts)
    return Found(
        row.status,
        row.error_code,
        row.attempts,
        row.crashes,
        outcomes(result),
        says if says in text else text,
    )


@plays(*CHILDREN)
@on_one_database
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_task_does_to_its_process_ends_one_attempt(project, kind):
    project.env["EXTRA_APPS"] = '["tests.ending"]'
    options(project, max_crashes=1)
    flags = ["--processes", "1", "--threads", "1", "--async-concurrency", "1"]
    results = {line: KINDS[kind].enqueue(how) for line, (how, _) in CHILDREN.items()}
    with project.worker(*flags) as worker:
        fine = finished(project, *results.values(), tasks.add.enqueue(1, 1))[-1]
        assert worker.stop() == 0
        assert worker.descendants() == set()
    assert fine.return_value == 2
    for line, (_, expected) in CHILDREN.items():
        assert (line, found(results[line], expected.says)) == (line, expected)


@plays(*LATE_CHILDREN)
@on_one_database
def test_an_attempt_ends_at_its_timeout_however_its_process_does(project):
    project.env["EXTRA_APPS"] = '["tests.ending"]'
    options(project, grace=0.3)
    results = {
        (line, *arguments): task.enqueue(*arguments)
        for line, cases in LATE_CHILDREN.items()
        for task, arguments in cases
    }
    with project.worker("--processes", "2", "--async-concurrency", "1") as worker:
        fine = finished(project, *results.values(), tasks.async_add.enqueue(1, 1))[-1]
        assert worker.stop() == 0
        assert worker.descendants() == set()
    assert fine.return_value == 2
    for line, result in results.items():
        assert (line, found(result, "TaskTimeout")) == (line, Found(*LATE, "TaskTimeout"))


@plays("the supervisor is gone while it is idle")
@on_one_database
def test_an_idle_child_ends_with_its_supervisor(project):
    with project.worker("--processes", "1") as worker:
        finished(project, tasks.noop.enqueue())
        children = worker.descendants()
        assert len(children) == 2
        worker.process.kill()
        assert psutil.wait_procs(children, timeout=5)[1] == []
        assert "Traceback" not in worker.output
    assert os.getpid() not in {process.pid for process in children}
    assert Job.objects.get().status == "SUCCESSFUL"
