"""Processes that are started by forks are what tests take them for: new ones, and none is overlooked."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from . import warm
from .conftest import on_one_database
from .project import wait_for

LEAVING = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
sys.exit(3)
"""
TELLING = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ.get("TOLD"), sorted(os.environ), sys.stdin.read())
print("and the other", file=sys.stderr)
"""
SLEEPING = "import time; print('asleep', flush=True); time.sleep(60)"


def start(folder, code, *arguments, **env):
    script = folder / "script.py"
    script.write_text(code)
    streams = {name: (folder / name).open("w") for name in ("out", "err")}
    with Path(os.devnull).open() as nothing, streams["out"] as out, streams["err"] as err:
        return warm.starter().start(
            [str(script), *arguments], env=env, cwd=folder, stdin=nothing, stdout=out, stderr=err
        )


# What Python and the linker heed when they start is as it was when the starter did.
SAME = {name: value for name, value in os.environ.items() if name.startswith(warm.HEEDED_AT_START)}
SAME |= {"PYTHONUNBUFFERED": "1"}


def test_a_process_has_the_arguments_folder_environment_and_streams_that_it_is_given(tmp_path):
    assert start(tmp_path, TELLING, "a", "b c", TOLD="yes", **SAME).wait(20) == 0
    expected = f"['a', 'b c'] {tmp_path} yes {sorted({*SAME, 'TOLD'})} \n"
    assert (tmp_path / "out").read_text() == expected
    assert (tmp_path / "err").read_text() == "and the other\n"


def test_what_is_heeded_at_the_start_of_python_is_heeded(tmp_path):
    code = "import sys; print(sys.flags.dev_mode, 'django' in sys.modules)"
    for env, told in ((SAME, "False True\n"), (SAME | {"PYTHONDEVMODE": "1"}, "True False\n")):
        assert start(tmp_path, code, **env).wait(20) == 0
        assert (tmp_path / "out").read_text() == told


def test_its_end_is_told(tmp_path):
    process = start(tmp_path, SLEEPING, **SAME)
    wait_for(lambda: "asleep" in (tmp_path / "out").read_text())
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(20) == process.poll() == -signal.SIGKILL
    failed = start(tmp_path, "raise ValueError('no')", **SAME)
    assert failed.wait(20) == 1
    assert (tmp_path / "err").read_text().endswith("ValueError: no\n")


def test_what_it_leaves_behind_is_found(tmp_path):
    before = warm.starter().orphans()
    process = start(tmp_path, LEAVING, **SAME)
    assert process.wait(20) == 3
    wait_for(lambda: len(warm.starter().orphans() - before) == 1)
    (orphan,) = warm.starter().orphans() - before
    orphan.kill()
    wait_for(lambda: orphan not in warm.starter().orphans())
    assert not psutil.pid_exists(orphan.pid)  # and no zombie


@on_one_database
def test_what_a_living_worker_has_is_no_orphan(project):
    before = warm.starter().orphans()
    with project.worker("--processes", "1") as worker:
        wait_for(lambda: "Stop with" in worker.output and worker.descendants() - before)
        assert warm.starter().orphans() <= before
        worker.process.kill()
        wait_for(lambda: worker.descendants() <= before)
