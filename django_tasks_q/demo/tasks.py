"""The tasks of the demo: some that succeed, and one for each kind of failure."""

from __future__ import annotations

import ast
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django
from django.utils import timezone

from .. import task
from ..execution.context import TaskContext


@task
def parse_module(path: str) -> dict[str, Any]:
    """Count the lines, functions and classes of a module. ``path`` is relative to the Django package."""
    source = (Path(django.__file__).parent / path).read_bytes()
    nodes = Counter(type(node) for node in ast.walk(ast.parse(source)))
    return {
        "module": path,
        "lines": len(source.splitlines()),
        "functions": nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef],
        "classes": nodes[ast.ClassDef],
    }


@task(takes_context=True, max_attempts=3, backoff=0.2)
def fail_twice(context: TaskContext) -> str:
    """Succeed at the third attempt."""
    if context.attempt < 3:
        raise ConnectionError(f"Attempt {context.attempt} is meant to fail.")
    return f"succeeded at attempt {context.attempt}"


@task(timeout=1)
def never_end() -> None:
    """Run until the timeout."""
    while True:
        time.sleep(60)


@task
def kill_own_process() -> None:
    """Kill the process that runs this."""
    os.kill(os.getpid(), signal.SIGKILL)


@task
def run_later() -> str:
    """Return the present time."""
    return timezone.now().isoformat()
