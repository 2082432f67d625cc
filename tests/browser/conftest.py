from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import sync_playwright

from .chromium import CHROMIUM, needs_chromium
from .site import PASSWORD, USER, Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The one thing that may be missing: what drives it is pinned, and its lack is an error.
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(needs_chromium)


#: Logs the user in without a browser, and says how the session is called.
SESSION = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.get())
print(client.cookies["sessionid"].value)
"""


class Served(NamedTuple):
    """One server for all tests, and the database that each of them begins with."""

    site: Site
    template: Path
    session: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    prepared = Site(tmp_path_factory.mktemp("template"))
    prepared.prepare()
    session = prepared.shell(SESSION)
    directory = tmp_path_factory.mktemp("site")
    template = prepared.directory / "site.sqlite3"
    shutil.copy(template, directory / "site.sqlite3")
    with Site(directory).serving() as site:
        yield Served(site, template, session)


@pytest.fixture
def site(served: Served) -> Iterator[Site]:
    """The site with nothing in it but its user. The server keeps no connection between two requests."""
    for path in served.site.directory.glob("site.sqlite3-*"):
        path.unlink()
    shutil.copy(served.template, served.site.directory / "site.sqlite3")
    log = served.site.directory / "server.log"
    start = log.stat().st_size
    yield served.site
    print(f"--- runserver\n{log.read_bytes()[start:].decode()[-4000:]}")


# No longer than these tests: while it is open this thread has an event loop, in which Django refuses to ask a
# database, and other tests follow in the same process.
@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, site: Site, served: Served) -> Iterator[Any]:
    """Opens pages, logged in. In the end none of them may have broken the policy or met an error."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(script: bool = True, login: bool = True, **more: Any) -> Any:
        context = browser.new_context(
            java_script_enabled=script, viewport={"width": 1280, "height": 900}, locale="en-GB", **more
        )
        contexts.append(context)
        if login:
            context.add_cookies([{"name": "sessionid", "value": served.session, "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: note(message))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        return page

    def note(message: Any) -> None:
        # A form that is asked again is no error of the page.
        if message.type == "error" and "favicon" not in str(message.location) and " 400 " not in message.text:
            complaints.append(f"console: {message.text} {message.location}")

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def follow(page: Any, link: Any) -> None:
    """Click what leads to another page, and be there: a click alone may return while the old one is up."""
    with page.expect_navigation(wait_until="domcontentloaded"):
        link.click()


def log_in(page: Any) -> None:
    page.fill("#id_username", USER)
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
