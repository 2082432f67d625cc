"""``runworker`` where a program calls it, and in processes that are not as a shell would start them."""

import faulthandler
import io
import signal
import socket
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from django_tasks_q.forks import flush_streams
from django_tasks_q.models import Job
from django_tasks_q.worker.streams import dump_stack_on_quit
from django_tasks_q.worker.subscribers.console import Console

from .conftest import on_one_database
from .tasksapp import tasks
from .test_starts import hardship
from .test_worker import job

USED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1)


def run_batch(**streams):
    call_command("runworker", "--batch", "--processes", "1", verbosity=0, skip_checks=True, **streams)


@pytest.fixture
def postgres(storage_alias):
    if storage_alias != "postgres":
        pytest.skip("processes share no database in memory")


@pytest.fixture
def own_signals():
    """A program that handles them itself, and leaves this process as it was."""
    before = {number: signal.getsignal(number) for number in USED}

    def heed(*_):
        """Stands for the program's."""

    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    wakeup = signal.set_wakeup_fd(ours.fileno())
    handlers = dict.fromkeys(USED, heed) | {signal.SIGHUP: signal.SIG_IGN}
    for number, handler in handlers.items():
        signal.signal(number, handler)
    yield handlers, ours.fileno()
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
        signal.signal(number, handler)
    for end in (ours, theirs):
        end.close()


def test_signals_are_afterwards_as_they_were(postgres, own_signals):
    handlers, wakeup = own_signals
    signal.setitimer(signal.ITIMER_REAL, 0)  # of an attempt that another test has run in this process
    result = tasks.add.enqueue(1, 2)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        run_batch()
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert signal.set_wakeup_fd(wakeup) == wakeup
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert Job.objects.using("postgres").get(id=result.id).status == "SUCCESSFUL"
    tasks.add.enqueue(1, 2)  # by whatever statement and session is the program's own now
    with connections["postgres"].cursor() as cursor:  # and so are the settings of sessions
        cursor.execute("SELECT current_setting('enable_sort')")
        assert cursor.fetchone() == ("on",)


def test_what_ignores_the_end_of_its_children_can_call_it(postgres, own_signals):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    tasks.noop.enqueue()
    run_batch()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    assert Job.objects.using("postgres").get().status == "SUCCESSFUL"


def test_in_a_transaction_it_says_so_and_leaves_the_connection_alone(postgres):
    with transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
        with pytest.raises(CommandError, match="within a transaction, as in a TestCase"):
            run_batch()
        assert Job.objects.using("postgres").count() == 1
    assert Job.objects.using("postgres").count() == 1


@pytest.mark.once
@pytest.mark.parametrize("is_closed", [True, False])
def test_streams_that_are_gone_are_no_reason_to_stop(monkeypatch, is_closed):
    stream = io.StringIO() if is_closed else None
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    flush_streams()
    dump_stack_on_quit()
    faulthandler.unregister(signal.SIGQUIT)
    report = Console(lambda text: stream.write(text), 1)
    report.line("into nothing")


@pytest.mark.parametrize("make", [io.StringIO, lambda: None], ids=["text", "none"])
def test_streams_need_not_be_files(postgres, monkeypatch, make):
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", make())
    results = [tasks.noop.enqueue(), tasks.add_in_thread.enqueue(1, 2)]
    call_command("runworker", "--batch", "--processes", "1", verbosity=1, skip_checks=True)
    rows = Job.objects.using("postgres").filter(id__in=[result.id for result in results])
    assert [row.status for row in rows] == ["SUCCESSFUL", "SUCCESSFUL"]


@on_one_database
def test_a_signal_that_comes_while_the_interpreter_ends_changes_no_status(project, tmp_path):
    mark, go = tmp_path / "mark", tmp_path / "go"
    hardship(project, linger=[str(mark), str(go)])
    with project.worker("--processes", "1") as worker:
        result = tasks.noop.enqueue()
        project.wait_for(lambda: job(result).is_finished)
        worker.process.terminate()
        project.wait_for(lambda: mark.exists() and mark.read_text())
        worker.process.terminate()
        go.touch()
        assert worker.process.wait(15) == 0
    assert "SIG_IGN" in mark.read_text()  # which the interpreter does not take back as it ends
