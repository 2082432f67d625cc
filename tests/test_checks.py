import subprocess
import sys

import django
import pytest
from django.core.checks import run_checks
from django.db import connections

from django_tasks_q import checks, compat
from django_tasks_q.definition import registry


@pytest.fixture
def backend(settings):
    """Replaces parts of the default backend's configuration."""

    def change(**parts):
        settings.TASKS = {"default": {**settings.TASKS["default"], **parts}}

    return change


def found():
    return {message.id: message for message in checks.check_backends(None)}


def test_a_good_configuration_has_nothing_to_say():
    assert run_checks(tags=["tasks"]) == []


def test_a_bare_backend_is_a_whole_configuration(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DatabaseBackend"}}
    assert found() == {}
    assert compat.task_backends["default"].queues == set()


def test_an_unknown_option_is_an_error_with_a_suggestion(backend):
    backend(OPTIONS={"MAX_ATTEMPT": 3})
    message = found()["django_tasks_q.E003"]
    assert (
        message.msg
        == "TASKS['default']['OPTIONS']: 'MAX_ATTEMPT' is not an option. Did you mean 'MAX_ATTEMPTS'?"
    )


def test_every_unusable_option_is_named(backend):
    backend(OPTIONS={"TIMEOUT": "soon", "LEASE": 0.1, "NOTIFY": 1})
    assert len(checks.check_backends(None)) == 3


def test_a_database_that_is_not_configured_is_an_error(backend):
    backend(OPTIONS={"DATABASE": "nowhere"})
    assert "'nowhere', which is not in DATABASES" in found()["django_tasks_q.E004"].msg


def test_queues_must_be_a_list(backend):
    backend(QUEUES="default")
    assert "must be a list of names, not 'default'" in found()["django_tasks_q.E005"].msg


def test_a_task_of_a_queue_outside_of_queues_is_an_error(backend):
    task = registry.registry.get("named.task")
    backend(QUEUES=["default"])
    messages = [message.msg for message in checks.check_backends(None)]
    assert (
        f"Task {task.name} is sent to queue 'named', which is not in TASKS['default']['QUEUES']." in messages
    )


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, {"W001", "W002"}),
        ({"transaction_mode": "DEFERRED", "init_command": "PRAGMA journal_mode=WAL"}, {"W001"}),
        ({"transaction_mode": "IMMEDIATE"}, {"W002"}),
        ({"transaction_mode": "immediate", "init_command": "PRAGMA journal_mode=wal"}, set()),
    ],
)
def test_sqlite_is_told_how_to_be_a_queue(monkeypatch, options, ids):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    assert set(found()) == {f"django_tasks_q.{id_}" for id_ in ids}


def test_channels_has_a_command_of_the_same_name(monkeypatch):
    assert checks.check_command_clash(None) == []
    monkeypatch.setattr(checks.apps, "is_installed", lambda name: name == "channels")
    (message,) = checks.check_command_clash(None)
    assert message.id == "django_tasks_q.W003"
    assert "tasksworker" in message.hint


def project(tmp_path, installed, code):
    """Run code in a process of its own, under settings with the given apps."""
    (tmp_path / "other_settings.py").write_text(
        f"INSTALLED_APPS = {installed!r}\n"
        "SECRET_KEY = 'x'\n"
        "USE_TZ = True\n"
        "OPTIONS = {'transaction_mode': 'IMMEDIATE', 'init_command': 'PRAGMA journal_mode=WAL'}\n"
        "ENGINE = 'django.db.backends.sqlite3'\n"
        "DATABASES = {'default': {'ENGINE': ENGINE, 'NAME': ':memory:', 'OPTIONS': OPTIONS}}\n"
        "TASKS = {'default': {'BACKEND': 'django_tasks_q.backends.DatabaseBackend'}}\n"
    )
    prelude = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n"
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'other_settings'\n"
    )
    return subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True)


CHECK = (
    "import django; django.setup(); from django.core.management import call_command; call_command('check')"
)


def test_an_app_that_is_not_installed_is_an_error(tmp_path):
    # The framework's own check asks the backend; the backport's does so once it is installed itself.
    installed = [] if django.VERSION >= (6, 0) else ["django_tasks"]
    use = "import django_tasks_q.compat\n"
    done = project(tmp_path, installed, use + CHECK)
    assert "django_tasks_q.E001" in done.stderr
    assert "Add 'django_tasks_q' to INSTALLED_APPS" in done.stderr


HIDE_BACKPORT = """
import importlib.abc
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "django_tasks":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "django_tasks" else find_spec(name, *rest)
"""


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="Django 6 has the framework itself")
def test_a_missing_backport_is_an_error_that_says_what_to_install(tmp_path):
    installed = [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.admin",
        "django_tasks_q",
    ]
    done = project(tmp_path, installed, HIDE_BACKPORT + CHECK)
    assert "django_tasks_q.E002" in done.stderr
    assert "pip install 'django-tasks-q[backport]'" in done.stderr


def make_app(tmp_path, name, files):
    """An app whose files have that text, by their paths."""
    for path, text in {"__init__.py": "", **files}.items():
        target = tmp_path / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


ONE_TASK = "from django_tasks_q import task\n@task\ndef {}(): pass\n"
NAMES = (
    "import django; django.setup(); "
    "from django_tasks_q.definition.registry import registry; print(*registry.names())"
)
BROKEN = {
    "missing": (
        "from celery_that_is_not_there import shared_task\n",
        "ModuleNotFoundError: No module named 'cel",
    ),
    "typo": ("def x(:\n", "SyntaxError: "),
    "raising": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "leaving": ("import sys; sys.exit(3)\n", "SystemExit: 3"),
}


def test_a_module_of_tasks_that_is_broken_stops_workers_and_not_the_site(tmp_path):
    for name, (text, _) in BROKEN.items():
        make_app(tmp_path, name, {"tasks.py": text})
    make_app(tmp_path, "good", {"tasks.py": ONE_TASK.format("fine")})
    installed = ["django_tasks_q", *BROKEN, "good"]
    site = project(tmp_path, installed, NAMES)
    assert site.returncode == 0, site.stderr
    assert "good.tasks.fine" in site.stdout
    for command in ("'check'", "'runworker', skip_checks=False"):
        done = project(tmp_path, installed, CHECK.replace("'check'", command))
        assert done.returncode == 1
        assert done.stderr.count("django_tasks_q.E017") == len(BROKEN)
        for name, (_, reason) in BROKEN.items():
            told = f"The module {name}.tasks cannot be imported, and its tasks are not known: {reason}"
            assert told in done.stderr.partition("SystemCheckError")[2]


def test_a_module_of_tasks_for_another_library_can_be_left_out(tmp_path):
    text, _ = BROKEN["missing"]
    make_app(tmp_path, "other", {"tasks/__init__.py": "", "tasks/one.py": text, "tasks/two.py": text})
    leave_out = (
        "from other_settings import TASKS; TASKS['default']['OPTIONS'] = {'EXCLUDE_TASK_MODULES': %r}\n"
    )
    done = project(tmp_path, ["django_tasks_q", "other"], leave_out % ["other.tasks.one"] + CHECK)
    assert "other.tasks.two" in done.stderr
    assert "other.tasks.one" not in done.stderr
    done = project(tmp_path, ["django_tasks_q", "other"], leave_out % ["other.tasks"] + CHECK)
    assert done.returncode == 0, done.stderr


def test_tests_and_programs_among_tasks_are_not_imported(tmp_path):
    files = {
        f"tasks/{name}.py": "raise AssertionError\n" for name in ("__main__", "conftest", "test_a", "a_test")
    }
    files |= {
        "tasks/tests/__init__.py": "raise AssertionError\n",
        "tasks/tests/test_b.py": "raise AssertionError\n",
    }
    files |= {"tasks/__init__.py": "", "tasks/testing.py": ONE_TASK.format("kept")}
    make_app(tmp_path, "other", files)
    done = project(tmp_path, ["django_tasks_q", "other"], NAMES)
    assert "other.tasks.testing.kept" in done.stdout, done.stderr
    assert "AssertionError" not in done.stderr


def test_the_reloader_watches_what_could_not_be_imported(tmp_path):
    text, _ = BROKEN["typo"]
    make_app(tmp_path, "other", {"tasks.py": text})
    code = (
        "import django; django.setup()\n"
        "from django.utils.autoreload import StatReloader, autoreload_started\n"
        "reloader = StatReloader(); autoreload_started.send(sender=reloader)\n"
        "print(*(path for path in reloader.watched_files() if path.name == 'tasks.py'))"
    )
    assert str(tmp_path / "other" / "tasks.py") in project(tmp_path, ["django_tasks_q", "other"], code).stdout


@pytest.mark.parametrize(
    ("own", "path"), [(True, "DatabaseBackend"), (False, "DatabaseBackend"), (False, "ImmediateBackend")]
)
def test_tasks_may_be_declared_before_the_apps_are_loaded(tmp_path, own, path):
    where = "django_tasks_q" if own else "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
    make_app(
        tmp_path,
        "early",
        {
            "apps.py": "from django.apps import AppConfig\nfrom . import work\n"
            "class Early(AppConfig):\n    name = 'early'\n",
            "work.py": f"from {where} import task\n@task(priority=3)\ndef run(order: int): pass\n",
        },
    )
    code = (
        "from other_settings import TASKS\n"
        f"TASKS['default']['BACKEND'] = 'django_tasks_q.backends.{path}'\n"
        "import django; django.setup()\nfrom early.work import run\nprint(run.name, run.priority)\n"
    )
    done = project(tmp_path, ["early.apps.Early", "django_tasks_q"], code)
    assert done.stdout.strip() == "early.work.run 3", done.stderr


def test_tasks_are_found_in_packages_and_behind_app_configs(tmp_path):
    app = tmp_path / "parcel"
    (app / "tasks" / "deep").mkdir(parents=True)
    for folder in (app, app / "tasks", app / "tasks" / "deep"):
        (folder / "__init__.py").touch()
    (app / "apps.py").write_text(
        "from django.apps import AppConfig\n"
        "class Parcel(AppConfig):\n    name = 'parcel'\n    label = 'other'\n"
    )
    body = "from django_tasks_q import task\n@task\ndef {}(): pass\n"
    (app / "tasks" / "one.py").write_text(body.format("one"))
    (app / "tasks" / "deep" / "two.py").write_text(body.format("two"))
    code = (
        "import django; django.setup(); from django.apps import apps\n"
        "print(apps.get_app_config('django_tasks_q').registry.names())"
    )
    done = project(tmp_path, ["parcel.apps.Parcel", "django_tasks_q"], code)
    names = "['django_tasks_q.tasks.bulk', 'parcel.tasks.deep.two.two', 'parcel.tasks.one.one']"
    assert done.stdout.strip() == names, done.stderr


def test_two_tasks_of_one_name_stop_the_start(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "tasks.py").write_text(
            "from django_tasks_q import task\n@task(name='same')\ndef run(): pass\n"
        )
    done = project(tmp_path, ["django_tasks_q", "first", "second"], CHECK)
    assert (
        "The task name 'same' is taken by first.tasks.run; second.tasks.run needs another one" in done.stderr
    )


@pytest.mark.parametrize(
    ("executor", "id", "words"),
    [
        ("nowhere.Executor", "E007", "No module named 'nowhere'"),
        ("collections.Counter", "E007", "is not a subclass of ProcessExecutor"),
        ("django_tasks_q.executors.AsyncExecutor", "E008", "is a plain function"),
    ],
)
def test_an_executor_must_be_there_and_fit(monkeypatch, executor, id, words):
    known = registry.registry.get("tests.tasksapp.tasks.noop")
    monkeypatch.setitem(known.__dict__, "executor", executor)
    assert words in found()[f"django_tasks_q.{id}"].msg


def test_the_default_executor_is_for_plain_functions(backend):
    backend(OPTIONS={"EXECUTOR": "thread"})
    assert found() == {}
    backend(OPTIONS={"EXECUTOR": "async"})
    assert "EXECUTOR is for plain functions" in found()["django_tasks_q.E003"].msg


def test_a_project_on_psycopg2_is_told_that_django_uses_the_other_one(tmp_path, monkeypatch):
    assert checks.check_driver(None) == []
    (tmp_path / "psycopg2").mkdir()
    (tmp_path / "psycopg2" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    (message,) = checks.check_driver(None)
    assert message.id == "django_tasks_q.W005"
    assert "psycopg, version 3, for 'postgres'" in message.msg
    monkeypatch.setattr(checks, "connections", {"default": connections["default"]})
    assert checks.check_driver(None) == []


NO_DRIVER = """
from other_settings import DATABASES
DATABASES['default'] = {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'nowhere'}
import django; django.setup()
# As where Django has fallen back to psycopg2: its own half works.
from django.db import connections; connections['default']
for name in [name for name in sys.modules if name.startswith('django_tasks_q.storage.postgresql')]:
    del sys.modules[name]
sys.modules['psycopg'] = None
from django.core.management import call_command, CommandError
for command in ('check', 'migrate', 'runworker'):
    try:
        call_command(command, **({} if command == 'check' else {'skip_checks': False}))
    except CommandError as error:
        print(command, type(error).__name__, error)
try:
    call_command('runworker')
except CommandError as error:
    print('unchecked', error)
from parcel.tasks import run
try:
    run.enqueue()
except django.core.exceptions.ImproperlyConfigured as error:
    print('enqueue', error)
"""


def test_a_driver_that_cannot_be_loaded_is_one_sentence_everywhere(tmp_path):
    make_app(tmp_path, "parcel", {"tasks.py": ONE_TASK.format("run")})
    done = project(tmp_path, ["django_tasks_q", "parcel"], NO_DRIVER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Database 'default' is PostgreSQL, and psycopg cannot be loaded") == 5
    assert done.stdout.count("django_tasks_q.E018") == 3
    for name in ("check SystemCheckError", "migrate SystemCheckError", "runworker SystemCheckError"):
        assert name in done.stdout
    assert "enqueue Database" in done.stdout
    assert "unchecked Database" in done.stdout
