"""The demo as a person starts it, and what it makes of endings that it does not expect."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from django_tasks_q.demo.database import configuration
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job

from .project import ROOT, wait_for

TABLE = [
    r"task +jobs +p50 +p95 +succeeded +failed +retried",
    r"fail_twice +1 .* 1 +0 +1",
    r"kill_own_process +1 .* 0 +1 +1",
    r"never_end +1 +1\.\d\d s .* 0 +1 +0",
    r"parse_module +(?P<modules>\d+) .* (?P=modules) +0 +\d+",
    r"run_later +1 .* 1 +0 +0",
]
ENDINGS = [
    "happened: successful after 3 runs - ok",
    "happened: failed (TASK_TIMEOUT) after 1 run - ok",
    "happened: failed (POISON) after 3 runs, 3 of them crashed - ok",
    "happened: successful after 1 run, started ",
]


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo, which is to leave no file behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django_tasks_q", "demo", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
    assert not list(folder.iterdir())


def run(folder: Path, *options: str) -> tuple[int, str, str]:
    """Run the demo to its end: its exit status, and what it wrote to both streams."""
    with demo(folder, *options) as process:
        output, errors = process.communicate(timeout=90)
    return process.returncode, output, errors


def read_until(process: subprocess.Popen[str], text: str) -> str:
    read = ""
    while text not in read:
        line = process.stdout.readline()
        assert line, f"{text!r} is not in\n{read}"
        read += line
    return read


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def assert_all_is_well(output: str) -> None:
    for line in TABLE:
        assert re.search(rf"^  {line}$", output, re.MULTILINE), f"{line} is not in\n{output}"
    for line in ENDINGS:
        assert line in output
    assert output.count(" - ok\n") == len(ENDINGS)
    assert re.search(r"^  db/models/query\.py +\d{4} ", output, re.MULTILINE)
    assert re.search(r"modules parsed in [\d.]+ s: \d+ jobs per second", output)
    assert "Every job ended as it should." in output


def test_on_sqlite(tmp_path: Path) -> None:
    status, output, errors = run(tmp_path)

    assert (status, errors) == (0, "")
    assert_all_is_well(output)


def test_on_postgresql_after_one_that_was_interrupted(tmp_path: Path, postgres_url: str) -> None:
    with demo(tmp_path, "--database-url", postgres_url) as process:
        read_until(process, "jobs finished")
        wait_for(lambda: len(children(process)) == 4)
        left = children(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "Interrupted: nothing was left running.\n")
    assert psutil.wait_procs(left, timeout=5)[1] == []
    assert unfinished(postgres_url) == 0

    with demo(tmp_path, "--database-url", postgres_url, "--serve", "0") as process:
        output = read_until(process, "until you press Ctrl-C")
        url = re.search(r"http://127\.0\.0\.1:\d+/admin/", output)
        assert url is not None
        with urllib.request.urlopen(url[0], timeout=20) as response:
            assert b"csrfmiddlewaretoken" in response.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert_all_is_well(output)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT COUNT(*) FROM auth_user").fetchone() == (0,)


def unfinished(url: str) -> int:
    with psycopg.connect(url) as connection:
        query = "SELECT COUNT(*) FROM django_tasks_q_job WHERE finished_at IS NULL"
        return connection.execute(query).fetchone()[0]


@pytest.mark.once  # that the demo can fail
def test_without_its_worker_it_fails_with_reasons(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "jobs finished")
        wait_for(lambda: children(process))[0].kill()
        output, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "  The worker ended by itself, with status -9.\n" in output
    assert " - WRONG\n" in output
    assert re.search(r"parse_module \['.+'\]: expected successful, but it was \w+ after", output)
    assert errors == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"status": JobStatus.SUCCESSFUL}, "it was successful (POISON) after 3 runs"),
        ({"error_code": "CRASHED"}, "it was failed (CRASHED) after 3 runs"),
        ({"crashes": 2}, "it was failed (POISON) after 2 runs"),
        ({"status": JobStatus.RUNNING}, "it was running (POISON) after 3 runs"),
    ],
)
def test_an_ending_is_judged(changes: dict[str, Any], reason: str | None) -> None:
    from django_tasks_q.demo import jobs

    ended = {
        "id": uuid4(),
        "task_name": "django_tasks_q.demo.tasks.kill_own_process",
        "status": JobStatus.FAILED,
        "error_code": "POISON",
        "crashes": 3,
        "enqueued_at": datetime.now(UTC),
    }
    problems = jobs.problems([Job(**ended | changes)])

    assert [reason in problem for problem in problems] == ([] if reason is None else [True])


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    status, output, errors = run(tmp_path, "--database-url", "postgresql://user:secret@127.0.0.1:1/shop")

    assert (status, output) == (1, "")
    assert errors.startswith("demo: the database cannot be used: ")
    assert errors.count("\n") == 1
    assert "secret" not in errors


@pytest.mark.parametrize(
    "options",
    [
        ["--database-url", "shop.sqlite3"],
        ["--database-url", "postgresql://localhost"],
        ["--database-url", "postgresql://localhost:port/shop"],
        ["--database-url", "sqlite:///:memory:"],
        ["--processes", "0"],
        ["--serve", "65536"],
    ],
)
def test_bad_options_end_with_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from django_tasks_q.demo.cli import parser

    with pytest.raises(SystemExit) as ending:
        parser().parse_args(options)

    assert ending.value.code == 2
    assert f"argument {options[0]}" in capsys.readouterr().err


def test_a_url_may_name_a_socket_and_be_quoted() -> None:
    config = configuration("postgresql://u%40x:p%2Fw@/my%20shop?host=/run/pg&port=5433&sslmode=disable")

    assert config == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "my shop",
        "USER": "u@x",
        "PASSWORD": "p/w",
        "HOST": "/run/pg",
        "PORT": "5433",
        "OPTIONS": {"connect_timeout": 10, "sslmode": "disable"},
    }


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["worker"], 2), (["--help"], 0)])
def test_anything_but_the_demo_gets_the_usage(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from django_tasks_q.__main__ import main

    assert main(arguments) == status
    assert "".join(capsys.readouterr()) == "usage: python -m django_tasks_q demo [options]\n"
