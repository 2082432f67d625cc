"""Pages of the documentation, followed to the letter in a new project.

A fenced block is taken like this:

``python``, first line ``# orders/tasks.py``
    is added to that file of the project. Without such a line a block is only there to be read.
``pycon``
    is typed into one session for the whole page, while a worker runs. Answers must be those that are shown.
``console``
    each ``$ python manage.py …`` is run once the session is over, and must write the lines below it.
    ``runworker`` is left out: it runs already.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .project import ROOT, Project, Worker

DOCS = ROOT / "docs"
SETTINGS = """\
from testproject.settings import database

SECRET_KEY = "insecure: the project of a page"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_tasks_q", "orders"]
DATABASES = {{"default": database({url!r})}}
TASKS = {{"default": {{"BACKEND": "django_tasks_q.backends.DatabaseBackend", "OPTIONS": {{}}}}}}
"""
SESSION = """\
import doctest, sys
import django

django.setup()
text = sys.stdin.read()
session = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, "session", sys.argv[1], 0)
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
runner.run(session)
sys.exit(min(runner.failures, 1) or not runner.tries)
"""


def blocks(text: str, language: str) -> list[str]:
    """What the fenced blocks of a language hold, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def files(text: str) -> dict[str, str]:
    """The files that a page tells its reader to write."""
    found: dict[str, str] = {}
    for block in blocks(text, "python"):
        if named := re.match(r"# ([\w/]+\.py)\b.*\n", block):
            found[named[1]] = found.get(named[1], "") + block[named.end() :] + "\n\n"
    return found


def session(text: str) -> str:
    """What a page tells its reader to type, with the answers."""
    return "\n".join(blocks(text, "pycon"))


def commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The arguments of each command that is to be run, and the lines that it is said to write."""
    for block in blocks(text, "console"):
        for command in re.split(r"^\$ ", block, flags=re.M)[1:]:
            first, *lines = command.splitlines()
            if first.startswith("python manage.py ") and "runworker" not in first:
                yield shlex.split(first)[2:], lines


class Site(Project):
    """A new project of one app, ``orders``, in a folder of its own."""

    def __init__(self, database_url: str, directory: Path) -> None:
        super().__init__("page", database_url, directory)
        self.env |= {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PYTHONPATH": f"{directory}:{ROOT}",
        }
        self.write(
            {
                "mysite/__init__.py": "",
                "mysite/settings.py": SETTINGS.format(url=database_url),
                "orders/__init__.py": "",
            }
        )

    def write(self, files: dict[str, str]) -> None:
        """Add text to the end of files."""
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(text)

    def migrate(self) -> None:
        if (self.directory / "orders/models.py").exists():
            self.run("makemigrations", "orders", "--verbosity", "0")
        self.run("migrate", "--verbosity", "0")

    def type(self, session: str, name: str) -> None:
        """Type a session, and compare the answers."""
        done = subprocess.run(
            [sys.executable, "-c", SESSION, name],
            env=self.env,
            cwd=self.directory,
            input=session,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    @contextmanager
    def at_work(self) -> Iterator[Worker]:
        """With all its tables, and a worker of two processes."""
        self.migrate()
        with self.worker("--processes", "2", "--verbosity", "2") as worker:
            self.wait_for(lambda: "Stop with Ctrl-C" in worker.output)
            yield worker


def follow(page: Path, site: Site) -> None:
    """Do what a page says, in its order: files, tables, a worker, the session, and the commands."""
    text = page.read_text()
    site.write(files(text))
    with site.at_work():
        site.type(session(text), page.name)
    for arguments, lines in commands(text):
        done = site.run(*arguments)
        for line in lines:
            assert line in done.stdout, f"{arguments} wrote no {line!r} but\n{done.stdout}"
