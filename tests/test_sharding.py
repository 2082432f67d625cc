"""Jobs in two databases on two servers, routed by task and by tenant, with doors over both."""

import json
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_tasks_q import access
from django_tasks_q.access import on_backend

from .project import ROOT, Project
from .servers import servers

pytestmark = pytest.mark.once

#: What each client sees at each address, by backend.
READ = """
import json
import re
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_tasks_q.models import Job

def ids(response):
    return sorted(job["id"] for job in response.json()["results"])

boss, tenant = Client(), Client()
boss.force_login(User.objects.create_superuser("boss"))
user = User.objects.create_user("berlin")
user.user_permissions.set(Permission.objects.filter(content_type__app_label="django_tasks_q"))
tenant.force_login(user)
found = {}
sites = {"default": "admin", "eu": "eu_admin"}
stored_queue = {"default": "acme", "eu": "berlin"}
DOORS = {"default": ("/api/tasks/v1/", "/admin/"), "eu": ("/api/eu/tasks/v1/", "/admin-eu/")}
for alias, (api, admin) in DOORS.items():
    stored = sorted(str(id) for id in Job.objects.using(alias).values_list("id", flat=True))
    pages = admin + "django_tasks_q/"
    listed = boss.get(pages + "job/").content.decode()
    links = re.findall(r'href="(/admin[^"]*django_tasks_q/job/[^"]*)"', listed)
    other = {"default": "/admin-eu/", "eu": "/admin/"}[alias] + "django_tasks_q/"

    def page(base, name):
        return boss.get(base + name).status_code

    def post(path):
        return boss.post(api + path, content_type="application/json").status_code

    def queues():
        found = boss.get(api + "queues/").json()
        return found["results"] if isinstance(found, dict) else found

    found[alias] = {
        "stored": stored,
        "api": ids(boss.get(api + "jobs/")),
        "admin": [id for id in stored if id in listed],
        "links": bool(links) and all(link.startswith(pages) for link in links),
        "pages": [
            page(pages, f"job/{stored[0]}/change/"),
            page(other, f"job/{stored[0]}/change/"),
            boss.get(reverse("admin:django_tasks_q_dashboard", current_app=sites[alias])).status_code,
        ],
        "events": boss.get(api + f"jobs/{stored[0]}/events/").getvalue().decode().count(stored[0]),
        "tenant": ids(tenant.get(api + "jobs/")),
        "posted": [post(f"jobs/{stored[0]}/run-again/"), post(f"queues/{stored_queue[alias]}/pause/")],
    }
    found[alias]["paused"] = [queue["name"] for queue in queues() if queue["is_paused"]]
print(json.dumps(found))
"""


@pytest.fixture
def shards(tmp_path: Path):
    with servers(2) as (first, second):
        for server in (first, second):
            server.make(fsync="off")
        project = Project("postgres", first.url(), tmp_path)
        project.env |= {
            "OTHER_DATABASE_URL": second.url(),
            "DJANGO_SETTINGS_MODULE": "tests.sharded.settings",
        }
        for alias in ("default", "eu"):
            project.run("migrate", "--database", alias, "--verbosity", "0")
        yield project


def test_two_servers_are_one_queue_with_doors_to_both(shards):
    sent = json.loads(
        shards.script(
            "import json\n"
            "from tests.sharded.tasks import invoice, report_for\n"
            "jobs = {'invoice': invoice.enqueue()}\n"
            "jobs |= {tenant: report_for(tenant) for tenant in ('acme', 'berlin')}\n"
            "print(json.dumps({name: str(job.id) for name, job in jobs.items()}))"
        )
    )
    for alias, count in (("default", 1), ("eu", 2)):
        done = shards.run("runworker", "--batch", "--backend", alias)
        assert f"{count} succeeded" in done.stdout
    found = json.loads(shards.script(READ))
    assert found["default"]["stored"] == [sent["acme"]]
    assert found["eu"]["stored"] == sorted([sent["invoice"], sent["berlin"]])
    for alias, seen in found.items():
        assert seen["api"] == seen["admin"] == seen["stored"]
        assert seen["links"]
        assert seen["pages"] == [200, 302, 200]
        assert seen["events"] == 1
        # The scope of the default backend holds for the other one, which has none.
        assert seen["tenant"] == ([sent["berlin"]] if alias == "eu" else [])
        assert seen["posted"][0] < 300, seen
    # A pause at one address is one in that database.
    assert (found["default"]["paused"], found["eu"]["paused"]) == (["acme"], ["berlin"])


def test_the_page_has_these_addresses():
    urls = (ROOT / "tests" / "sharded" / "urls.py").read_text()
    assert f"```python\n{urls}```" in (ROOT / "docs" / "how-to" / "several-servers.md").read_text()


def test_a_backend_that_is_none_is_said():
    with on_backend("missing"), pytest.raises(ImproperlyConfigured, match="'missing'"):
        access.backend()
    assert access.backend().alias == "default"
