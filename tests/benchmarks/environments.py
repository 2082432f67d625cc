"""A virtual environment for each peer, kept for the next run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import django
import psycopg


def python_with(
    requirements: tuple[str, ...], name: str, cache: Path, oldest: tuple[int, int] = (3, 11)
) -> str:
    """The Python of an environment that has them, with the Django and the driver that we run on.

    It is the one that we run on, if ``oldest`` allows that. Raises CalledProcessError when they cannot be
    had, RuntimeError when no Python is new enough.
    """
    interpreter = _interpreter(oldest)
    shared = [f"django=={django.get_version()}", f"psycopg[binary,pool]=={psycopg.__version__}"]
    wanted = [*shared, *requirements]
    digest = hashlib.sha256("\n".join([sys.version, interpreter, *wanted]).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    python = str(folder / "bin" / "python")
    # An installation that was interrupted left no stamp, and starts anew.
    if not (folder / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *wanted],
            check=True,
            capture_output=True,
        )
        (folder / "complete").touch()
    return python


def _interpreter(oldest: tuple[int, int]) -> str:
    if sys.version_info >= oldest:
        return sys.executable
    newest = oldest[1] + 5
    for minor in range(oldest[1], newest):
        # Run, not looked up: a launcher may stand on the path for a Python that is not there.
        name = f"python{oldest[0]}.{minor}"
        with suppress(OSError):
            if not subprocess.run([name, "-c", "import ensurepip, sqlite3"], capture_output=True).returncode:
                return name
    raise RuntimeError(f"no Python from {oldest[0]}.{oldest[1]} to {oldest[0]}.{newest - 1} is on the path")


def version_of(python: str, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
