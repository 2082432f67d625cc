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
SEED = DOCS / "reference" / "seed-features.md"


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A new project on SQLite, then on PostgreSQL."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    return Site(url, tmp_path)


def test_there_is_a_page_for_each_of_the_four():
    assert [page.stem for page in COMING_FROM] == ["from-aioq", "from-horsies", "from-qtasks", "from-restq"]


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


@pytest.mark.parametrize("site", DATABASES[:1], indirect=True)
@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, site):
    follow(page, site)


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
