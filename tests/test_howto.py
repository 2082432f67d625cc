"""The pages for those who come from another system do what they say: each is followed to the letter."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from . import pages
from .pages import DOCS, Site, follow

CHOSEN = os.environ.get("TEST_DATABASES") or "default,postgres"
DATABASES = [name for name in ("default", "postgres") if name in CHOSEN.split(",")]
COMING_FROM = sorted(DOCS.glob("how-to/from-*.md"))
FROM_TASKS_DB = DOCS / "how-to" / "from-django-tasks-db.md"
SEED = DOCS / "reference" / "seed-features.md"

#: An app with the table of django-tasks-db, which is not installed for the tests.
TASKS_DB = {
    "django_tasks_db/__init__.py": "",
    "django_tasks_db/models.py": """\
import uuid

from django.db import models


class DBTaskResult(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    status = models.CharField(default="READY", max_length=10)
    enqueued_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    args_kwargs = models.JSONField()
    priority = models.IntegerField(default=0)
    task_path = models.TextField()
    worker_ids = models.JSONField(default=list)
    queue_name = models.CharField(default="default", max_length=32)
    backend_name = models.CharField(max_length=32)
    run_after = models.DateTimeField()
    return_value = models.JSONField(default=None, null=True)
    exception_class_path = models.TextField()
    traceback = models.TextField()
""",
    "mysite/settings.py": 'INSTALLED_APPS.append("django_tasks_db")\n',
}
#: What is stored there: two tasks that wait, one that waits for its time, and three that are to stay.
STORE_ROWS = """\
>>> from datetime import datetime, timezone
>>> from django_tasks_db.models import DBTaskResult
>>> def store(order_id, year=9999, backend_name="default", task="send_invoice", **columns):
...     DBTaskResult.objects.create(
...         task_path=f"orders.tasks.{task}",
...         args_kwargs={"args": [order_id], "kwargs": {"copies": 2}},
...         run_after=datetime(year, 1, 1, tzinfo=timezone.utc),
...         backend_name=backend_name,
...         **columns,
...     )
>>> store(1, priority=7, queue_name="mail")
>>> store(2, year=2999, priority=-100)
>>> store(3, year=2020)
>>> store(4, status="RUNNING")
>>> store(5, status="SUCCESSFUL")
>>> store(6, backend_name="other")
"""
MOVED = """\
>>> from django_tasks_db.models import DBTaskResult
>>> from django_tasks_q.models import Job
>>> from orders.tasks import send_invoice
>>> jobs = list(Job.objects.order_by("id"))
>>> for job in jobs:
...     result = send_invoice.get_result(job.id)
...     print(result.args, result.kwargs, job.queue_name, job.priority, job.backend, job.run_after)
[1] {'copies': 2} mail 7 default None
[2] {'copies': 2} default -100 default 2999-01-01 00:00:00+00:00
[3] {'copies': 2} default 0 default 2020-01-01 00:00:00+00:00
>>> [send_invoice.get_result(jobs[n].id).get(timeout=20) for n in (0, 2)]
['2 copies of invoice 1 sent', '2 copies of invoice 3 sent']
>>> jobs[1].status, jobs[1].max_attempts
('SCHEDULED', 4)
>>> sorted(row.args_kwargs["args"][0] for row in DBTaskResult.objects.all())
[4, 5, 6]
"""
NOT_MOVED = """\
>>> from django_tasks_db.models import DBTaskResult
>>> from django_tasks_q.models import Job
>>> Job.objects.count(), DBTaskResult.objects.filter(status="READY").count()
(0, 5)
"""


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A new project on SQLite, then on PostgreSQL."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    return Site(url, tmp_path)


def test_there_is_a_page_for_each_of_the_others():
    names = [page.stem.removeprefix("from-") for page in COMING_FROM]
    assert names == ["aioq", "celery", "django-tasks-db", "horsies", "qtasks", "restq"]


@pytest.mark.once  # that the others can fail
@pytest.mark.parametrize(
    ("session", "is_right"),
    [
        (">>> 1 + 1\n2\n", True),
        (">>> 1 + 1\n3\n", False),
        (">>> import orders.nothing\n", False),
        ("", False),
    ],
)
def test_a_page_that_is_wrong_is_noticed(session, is_right, tmp_path):
    site = Site(f"sqlite:///{tmp_path / 'db.sqlite3'}", tmp_path)
    with nullcontext() if is_right else pytest.raises(AssertionError):
        site.type(session, "page.md")


@pytest.mark.once  # text beside the package, whose parts the other tests run on each version
@pytest.mark.parametrize("site", DATABASES[:1], indirect=True)
@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, site):
    if page == FROM_TASKS_DB:
        install_tasks_db(site)
    follow(page, site)


def install_tasks_db(site: Site) -> None:
    """Add the app to the project, with a migration that makes its table."""
    site.write(TASKS_DB)
    site.run("makemigrations", "django_tasks_db", "--verbosity", "0")


@pytest.mark.any_version  # a script of the page
def test_waiting_tasks_of_django_tasks_db_are_moved(site):
    site.write(pages.files(FROM_TASKS_DB.read_text()))
    install_tasks_db(site)
    site.migrate()
    site.type(STORE_ROWS, FROM_TASKS_DB.name)
    done = site.run("move_waiting_tasks")
    *lines, last = done.stdout.splitlines()
    assert last == "Moved 3 tasks."
    assert [line.split()[1:3] for line in lines] == [["is", "now"]] * 3
    with site.at_work():
        site.type(MOVED, FROM_TASKS_DB.name)
    assert site.run("move_waiting_tasks").stdout == "Moved 0 tasks.\n"


def test_none_of_the_waiting_tasks_is_moved_if_one_cannot_be(site):
    site.write(pages.files(FROM_TASKS_DB.read_text()))
    install_tasks_db(site)
    site.migrate()
    gone = ">>> store(7, task='gone')\n"
    site.type(STORE_ROWS + gone, FROM_TASKS_DB.name)
    done = site.run("move_waiting_tasks", check=False)
    assert done.returncode == 1
    assert '"gone"' in done.stderr
    assert "is now" not in done.stdout
    site.type(NOT_MOVED, FROM_TASKS_DB.name)


@pytest.mark.parametrize("site", DATABASES[:1], indirect=True)
def test_no_task_is_moved_into_another_database(site, tmp_path):
    site.write(pages.files(FROM_TASKS_DB.read_text()))
    install_tasks_db(site)
    site.migrate()
    site.type(STORE_ROWS, FROM_TASKS_DB.name)
    elsewhere = (
        f"DATABASES['jobs'] = database('sqlite:///{tmp_path / 'jobs.sqlite3'}')\n"
        "TASKS['default']['OPTIONS']['DATABASE'] = 'jobs'\n"
    )
    site.write({"mysite/settings.py": elsewhere})
    done = site.run("move_waiting_tasks", check=False)
    assert done.returncode == 1
    assert "TASKS['default'] does not store its jobs in 'default'." in done.stderr


def test_everything_in_one_file_runs_as_written(site):
    """The task goes into the app, and the two lines below it are typed where it is wanted."""
    text = SEED.read_text()
    sample, *_ = pages.blocks(text, "python")
    before, after = pages.blocks(text, "pycon")
    definition, found, calls = sample.partition("\nresult = ")
    assert found
    site.write({"orders/tasks.py": definition})
    sending, waiting = f"result = {calls}".splitlines()
    assert after.startswith(f">>> {waiting}\n")  # the page shows the answer there
    with site.at_work():
        site.type(f"{before}>>> {sending}\n{after}", SEED.name)
