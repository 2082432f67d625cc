from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .site import PASSWORD, USER, Site

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None  # type: ignore[assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = ""
    if sync_playwright is None:
        reason = "playwright is not installed"
    elif not CHROMIUM:
        reason = "there is no chromium; CHROMIUM may name one"
    for item in items:
        if reason and Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables and a user, for every site to begin with."""
    site = Site(tmp_path_factory.mktemp("template"))
    site.prepare()
    return site.directory / "site.sqlite3"


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Iterator[Site]:
    shutil.copy(template, tmp_path / "site.sqlite3")
    with Site(tmp_path).serving() as site:
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, site: Site) -> Iterator[Any]:
    """Opens pages, logged in. In the end none of them may have broken the policy or met an error."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(script: bool = True, login: bool = True, **more: Any) -> Any:
        context = browser.new_context(
            java_script_enabled=script, viewport={"width": 1280, "height": 900}, locale="en-GB", **more
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: note(message))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        if login:
            log_in(page, site)
        return page

    def note(message: Any) -> None:
        # A form that is asked again is no error of the page.
        if message.type == "error" and "favicon" not in str(message.location) and " 400 " not in message.text:
            complaints.append(f"console: {message.text} {message.location}")

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def log_in(page: Any, site: Site) -> None:
    page.goto(f"{site.url}/login/")
    page.fill("#id_username", USER)
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(f"{site.url}/")
