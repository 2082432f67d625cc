"""A virtual environment for each peer, kept for the next run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import django
import psycopg


def python_with(requirements: tuple[str, ...], name: str, cache: Path) -> str:
    """The Python of an environment that has them, with the Django and the driver that we run on.

    Raises CalledProcessError when they cannot be had.
    """
    shared = [f"django=={django.get_version()}", f"psycopg[binary,pool]=={psycopg.__version__}"]
    wanted = [*shared, *requirements]
    digest = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    python = str(folder / "bin" / "python")
    # An installation that was interrupted left no stamp, and starts anew.
    if not (folder / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *wanted],
            check=True,
            capture_output=True,
        )
        (folder / "complete").touch()
    return python


def version_of(python: str, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
