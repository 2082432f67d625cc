"""One list of steps: .ci/run has it, and the workflow runs all of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .project import ROOT

pytestmark = pytest.mark.once  # text beside text

SCRIPT = ROOT / ".ci" / "run"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps() -> list[str]:
    return subprocess.run([SCRIPT, "--list"], capture_output=True, text=True, check=True).stdout.split()


def matrix() -> list[dict[str, str]]:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return workflow["jobs"]["steps"]["strategy"]["matrix"]["include"]


def test_the_workflow_runs_every_step():
    assert {name for job in matrix() for name in job["steps"].split()} == set(steps())


@pytest.mark.parametrize("job", matrix(), ids=lambda job: job["steps"].replace(" ", "-"))
def test_a_job_of_the_workflow_can_run_its_steps(job):
    names = job["steps"].split()
    assert names == [name for name in steps() if name in names]
    assert "setup" in names
    assert job["python"] == next((name[7:] for name in names if name.startswith("python-")), "3.11")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_to_a_commit(path):
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert action.startswith("./") or re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


class Checkout:
    """A folder with the script, in which all programs that it calls only note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.noted = folder / "calls"
        programs = folder / "programs"
        stub = programs / "make"
        for directory in (programs, folder / ".ci", folder / ".venv" / "bin", folder / "tests"):
            directory.mkdir(parents=True)
        stub.write_text('#!/bin/sh\necho "${0##*/}" "$1" "$TEST_DATABASES" >>"$CALLS"\necho "1 passed"\n')
        stub.chmod(0o755)
        for name in ("chromium", "faketime", "mariadbd", "pgbouncer"):
            shutil.copy(stub, programs / name)
        for name in (".venv/bin/nox", ".venv/bin/python", "tests/mariadb.sh"):
            shutil.copy(stub, folder / name)
        (programs / "pyenv").write_text("#!/bin/sh\necho 3.12.1\necho 3.13.1\n")
        (programs / "pyenv").chmod(0o755)
        shutil.copy(SCRIPT, folder / ".ci")
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        self.env = {"PATH": path, "CALLS": str(self.noted), "TMPDIR": str(folder)}

    def run(self, *names: str) -> subprocess.CompletedProcess[str]:
        command = [self.folder / ".ci" / "run", *names]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)

    def calls(self) -> list[str]:
        return [line.strip() for line in self.noted.read_text().splitlines()]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


EVERYTHING = [
    *["make setup", "make lint", "make types", "make docs", "make demo"],
    *["make test", "make django-tests", "make browser", "make test"],
    "python -c",
    "mariadb.sh make",
    *["nox --error-on-missing-interpreters postgres", "nox -R postgres"],
    *["nox --error-on-missing-interpreters default", "nox -R default"],
]


def in_some_order(calls):
    """The calls, of which those that are made beside each other are sorted."""
    return [*calls[:1], *sorted(calls[1:4]), *calls[4:]]


def test_without_names_every_step_is_run(checkout):
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    assert in_some_order(checkout.calls()) == in_some_order(EVERYTHING)
    assert done.stdout.partition("=== Summary")[2].count("1 passed") == 9


def test_every_step_can_be_run_alone(checkout):
    for name in steps():
        done = checkout.run(name)
        assert done.returncode == 0, done.stderr
    assert checkout.calls() == EVERYTHING


def test_steps_that_are_named_keep_their_order(checkout):
    assert checkout.run("types", "setup").returncode == 0
    assert checkout.calls() == ["make setup", "make types"]


def test_a_step_that_fails_is_the_last(checkout):
    stub = checkout.folder / "programs" / "make"
    stub.write_text(stub.read_text() + '[ "$1" != types ]\n')
    done = checkout.run()
    assert (done.returncode, done.stderr) == (1, "Failed: types\n")
    # Those beside it are ended and shown, in the order of the list, and none is begun after them.
    assert in_some_order(checkout.calls()) == in_some_order(EVERYTHING[:4])
    shown = [line for line in done.stdout.splitlines() if line.startswith("=== make")]
    assert [line.split()[2].rstrip(":") for line in shown] == ["setup", "lint", "types", "docs"]


def test_a_step_that_fails_alone_is_the_last(checkout):
    stub = checkout.folder / "programs" / "make"
    stub.write_text(stub.read_text() + '[ "$1" != demo ]\n')
    assert checkout.run().returncode == 1
    assert checkout.calls()[-1] == "make demo"


def test_a_step_that_fails_beside_one_that_does_not_is_a_failure(checkout):
    stub = checkout.folder / "programs" / "make"
    stub.write_text(stub.read_text() + '[ "$1" != docs ] || exit 3\n')
    assert checkout.run("setup", "lint", "docs").returncode == 1
    assert sorted(checkout.calls()) == ["make docs", "make lint", "make setup"]


def test_an_unknown_step_is_refused(checkout):
    done = checkout.run("lint", "typos")
    assert done.returncode == 2
    assert "There is no step 'typos'. The steps are: tools chromium setup" in done.stderr
    assert not checkout.noted.exists()


@pytest.mark.parametrize(("names", "status"), [((), 0), (("mariadb",), 1)])
def test_what_cannot_be_installed_is_an_error_only_where_it_was_named(checkout, names, status):
    driver = checkout.folder / ".venv" / "bin" / "python"
    driver.write_text("#!/bin/sh\nexit 1\n")
    for name in ("apt-get", "id"):
        (checkout.folder / "programs" / name).write_text("#!/bin/sh\necho 1000\n")
        (checkout.folder / "programs" / name).chmod(0o755)
    done = checkout.run(*names)
    assert done.returncode == status
    said = "MariaDB: not run because mysqlclient could not be built"
    assert said in (done.stderr if names else done.stdout)
