"""The pairs of Python and Django that are supported, and the checks, each in an environment of its own."""

import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
# With pip in it, which tests need. Packages are installed by uv where it is there: see install().
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
# Those which are not installed are skipped here; continuous integration passes
# --error-on-missing-interpreters.
nox.options.error_on_missing_interpreters = False

# constraints.txt pins Django 5.2 with the backport of its Tasks framework on Python 3.11 and the newest
# Django elsewhere; a requirement given here replaces that.
MATRIX = {"3.11": None, "3.12": "django~=6.0.0", "3.13": None}


UV = Path(sys.executable).with_name("uv")


def install(session: nox.Session, *arguments: str) -> None:
    """Install packages in a sixth of pip's time, as `make setup` does."""
    if UV.exists():
        python = str(Path(session.bin, "python"))
        env = {"UV_SYSTEM_CERTS": "1"}
        session.run(str(UV), "pip", "install", "--python", python, *arguments, env=env, external=True)
    else:
        session.install("--no-compile", *arguments)


def prepare(session: nox.Session) -> None:
    install(session, "--require-hashes", "-r", "constraints.txt")
    install(session, "--no-deps", "--no-build-isolation", "-e", ".")


@nox.session(python=list(MATRIX))
def tests(session: nox.Session) -> None:
    prepare(session)
    if django := MATRIX[str(session.python)]:
        install(session, django)
    session.run("python", "-m", "django", "--version")
    if session.posargs[:1] == ["django-tests"]:
        session.run("python", "-m", "tests.django_suite", *session.posargs[1:])
        return
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "3", "--dist", "worksteal", "-q"]))


@nox.session
def lint(session: nox.Session) -> None:
    prepare(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    prepare(session)
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    prepare(session)
    session.run("sphinx-build", "-W", "-n", "-q", "docs", "docs/_build")
