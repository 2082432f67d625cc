"""The table of features is complete, and what it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from .test_docs import DOCS, ROOT, code, rows, section

pytestmark = pytest.mark.once  # text beside text

PAGE = DOCS / "reference" / "seed-features.md"
TABLE = list(rows(section("reference/seed-features.md", "## All features")))


@cache
def names_in(path: Path) -> set[str]:
    """The names of a file's tests, those in classes included."""
    found = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in found if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@cache
def anchors(path: Path) -> set[str]:
    """Where links may lead within a page: its headings, as they are spelled in an address."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,3} (.+)$", text, re.M):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(words.replace(" ", "-"))
    return found


def test_every_feature_has_its_row():
    assert [row[0] for row in TABLE] == [f"S{number}" for number in range(1, 67)]
    assert {len(row) for row in TABLE} == {4}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_row_leads_to_what_it_names(row):
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", row[2])
    assert links
    for path, anchor in links:
        target = (PAGE.parent / path).resolve()
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), f"{path} has no #{anchor}"
    proofs = code(row[3])
    assert proofs
    for proof in proofs:
        path, _, name = proof.partition("::")
        assert name.startswith("test_")
        assert (ROOT / path).is_file(), path
        assert name in names_in(ROOT / path), proof
