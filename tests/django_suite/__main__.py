"""Download, adapt and run them: on stand-ins for each database, and on the package's own test backends."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import django

from .. import databases

ROOT = Path(__file__).resolve().parents[2]
#: Where downloads are kept from run to run.
CACHE = ROOT / ".cache" / "django"

#: The release whose tests are taken. Django before 6.0 has none: the backport has those of 6.0.
BACKPORT = django.VERSION < (6, 0)
RELEASE = "6.0.*" if BACKPORT else django.get_version()

#: What is replaced in the tests. A rule that finds nothing in any file is an error.
EVERYWHERE = [
    # Each test may read and write, also from the threads that asynchronous tests run in.
    (r"\bSimpleTestCase\b", "TransactionTestCase"),
    (r"import TransactionTestCase, TransactionTestCase", "import TransactionTestCase"),
    (r"\n    available_apps = \[\]\n", "\n"),
]
IN_BACKPORT = [
    (r"from django\.tasks\.exceptions import", "from django_tasks_q.compat import"),
    (r"\bdjango\.tasks\b", "django_tasks"),
    ("does not support async Tasks", "does not support async tasks"),
]
BEFORE_PYTHON_3_12 = [
    (r"without an implementation for abstract method 'enqueue'", "with abstract method enqueue")
]
BACKENDS = r"\bdjango\.tasks\.backends\.(dummy|immediate)\b"
NAMES = "the name of a task is what its jobs are stored under: the dotted path"
READABLE = "of a backend whose results cannot be read again"
DEFERS = "of a backend that cannot defer"
ALWAYS_LEFT_OUT = {"test_tasks.py::TaskTestCase::test_name": NAMES}
LEFT_OUT_ON_DATABASE = {
    "test_immediate_backend.py::ImmediateBackendTestCase::test_cannot_get_result": READABLE,
    "test_immediate_backend.py::ImmediateBackendTestCase::test_cannot_refresh_result": READABLE,
    "test_immediate_backend.py::ImmediateBackendTestCase::test_cannot_pass_run_after": DEFERS,
}


def main() -> None:
    source = downloaded()
    counts: dict[str, int] = {}
    failed = False
    for name, alias, backends, left_out in (
        ("DatabaseBackend on SQLite", "default", "tests.django_suite.backends", LEFT_OUT_ON_DATABASE),
        ("DatabaseBackend on PostgreSQL", "postgres", "tests.django_suite.backends", LEFT_OUT_ON_DATABASE),
        ("ImmediateBackend and DummyBackend", "default", "django_tasks_q.backends", {}),
    ):
        if alias not in os.environ.get("TEST_DATABASES", alias).split(",") and left_out:
            continue
        print(f"\n{name}:", flush=True)
        with tempfile.TemporaryDirectory(dir=databases.directory()) as directory:
            adapt(source, Path(directory), backends)
            status, line = run(Path(directory), alias, ALWAYS_LEFT_OUT | left_out)
        failed |= status != 0
        for count, word in re.findall(r"(\d+) (\w+)", line.partition(" in ")[0]):
            counts[word] = counts.get(word, 0) + int(count)
    print("\nLeft out:")
    for test, reason in {**ALWAYS_LEFT_OUT, **LEFT_OUT_ON_DATABASE}.items():
        print(f"  {test.rpartition('::')[2]}: {reason}")
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    print(f"{words} of Django {source.parents[1].name.removeprefix('django-')}'s tests/tasks")
    sys.exit(1 if failed or not counts.get("passed") else 0)


def downloaded() -> Path:
    """The folder of Django's tests of its Tasks framework. Pip knows where to get it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pattern = f"django-{RELEASE}.tar.gz"
    if not list(CACHE.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-binary", "django", "--ignore-requires-python", "--dest", str(CACHE)]
        subprocess.run([*command, *options, f"django=={RELEASE}"], check=True)
    archive = max(CACHE.glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    name = archive.name.removesuffix(".tar.gz")
    folder = CACHE / name / "tests" / "tasks"
    if not folder.is_dir():
        with tarfile.open(archive) as tar:
            members = [each for each in tar if each.name.startswith(f"{name}/tests/tasks/")]
            tar.extractall(CACHE, members, filter="data")
    return folder


def adapt(source: Path, directory: Path, backends: str) -> None:
    """Copy the tests to a package ``tasks`` there, changed by the rules."""
    rules = [*EVERYWHERE, (BACKENDS, backends), *(IN_BACKPORT if BACKPORT else [])]
    if sys.version_info < (3, 12):
        rules += BEFORE_PYTHON_3_12
    texts = {path.name: path.read_text() for path in source.glob("*.py")}
    for pattern, replacement in rules:
        found = 0
        for name, text in texts.items():
            texts[name], count = re.subn(pattern, replacement, text)
            found += count
        if not found:
            sys.exit(f"Django's tests have changed: {pattern!r} is not in them.")
    (directory / "tasks").mkdir()
    for name, text in texts.items():
        (directory / "tasks" / name).write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")


def run(directory: Path, alias: str, left_out: Iterable[str]) -> tuple[int, str]:
    """Run the tests in that folder. Answers pytest's status and its closing line."""
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django_suite.settings",
        "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
        "SUITE_DATABASE": alias,
        # Django's asynchronous tests call synchronous methods of backends that need no database.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
    }
    environ.pop("PYTEST_ADDOPTS", None)
    options = [f"--deselect=tasks/{test}" for test in left_out]
    # Asynchronous tests leave connections of their threads open.
    options += ["-W", "ignore:Error when trying to teardown test databases"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *options,
        *sys.argv[1:],
        "tasks",
    ]
    pytest = subprocess.Popen(command, cwd=directory, env=environ, stdout=subprocess.PIPE, text=True)
    line = ""
    assert pytest.stdout is not None
    for text in pytest.stdout:
        print(text, end="", flush=True)
        line = text if re.search(r"\d+ (passed|failed|error)", text) else line
    return pytest.wait(), line


if __name__ == "__main__":
    main()
