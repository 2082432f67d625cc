"""The screens under django-unfold, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import SESSION, follow
from .site import Site
from .test_flows import SCREENS as FLOWS

pytest.importorskip("unfold")

SCREENS = (*FLOWS, "job/enqueue/?task=shop.refund")
#: How many fields have no border to be seen by, links no colour, and hidden texts are shown.
BORDERS = (
    "[...document.querySelectorAll('.tasks :is(input, select, textarea)')]"
    ".filter((each) => each.checkVisibility() && !['checkbox', 'hidden'].includes(each.type))"
    ".filter((each) => getComputedStyle(each).borderTopWidth === '0px').length"
)
LINKS = (
    "[...document.querySelectorAll('#tasks-live td a, #tasks-live th a, #tasks-live p a:not(.tasks-button)')]"
    ".filter((each) => getComputedStyle(each).color === getComputedStyle(each.parentElement).color).length"
)
SHOWN = (
    "[...document.querySelectorAll('.tasks .visually-hidden')].filter((each) => each.offsetWidth > 1).length"
)


@pytest.fixture(scope="module")
def themed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    directory = tmp_path_factory.mktemp("themed")
    site = Site(directory, settings="tests.themed.settings")
    site.prepare()
    site.fill(12)
    with site.serving():
        yield site, site.shell(SESSION)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_screens_look_right_in_the_theme(
    browser: Any, themed: tuple[Site, str], width: int, scheme: str
) -> None:
    site, session = themed
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, locale="en-GB"
    )
    context.add_cookies([{"name": "sessionid", "value": session, "url": site.url}])
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path in SCREENS:
        page.goto(f"{site.url}/django_tasks_q/{path}")
        page.wait_for_load_state("networkidle")
        assert page.locator(".tasks h1").is_visible(), path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(BORDERS) == 0, path
        assert page.evaluate(LINKS) == 0, path
        assert page.evaluate(SHOWN) == 0, path
    page.goto(f"{site.url}/django_tasks_q/job/?status=failed")
    follow(page, page.locator(".tasks-jobs a.tasks-name").first)
    follow(page, page.get_by_role("button", name="Retry", exact=True))
    assert "Retry 1 job?" in page.locator(".tasks-question").inner_text()
    assert errors == []
    context.close()
