"""What is published: the wheel and the sdist, and what they say of themselves.

They are built for this, or taken from the folder that DISTRIBUTIONS names, as `make build` does.
"""

import ast
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest
from markdown_it import MarkdownIt

from django_tasks_q import __version__

from .project import ROOT

pytestmark = pytest.mark.once  # files beside files

NAME = f"django_tasks_q-{__version__}"
WHEEL = f"{NAME}-py3-none-any.whl"

#: Paths of the machine that a release was made on.
LOCAL_PATH = re.compile(rb"(?:^|[^\w.>})/*-])/(?:home|root|Users|work|workspace|builds)/", re.M)


def build(source: Path, target: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *arguments]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if found := os.environ.get("DISTRIBUTIONS"):
        return ROOT / found
    target = tmp_path_factory.mktemp("distributions")
    build(ROOT, target)
    return target


@pytest.fixture(scope="module")
def wheel(folder: Path) -> dict[str, bytes]:
    """The files in the wheel."""
    with zipfile.ZipFile(folder / WHEEL) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def unpacked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    target = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(folder / f"{NAME}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target / NAME


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return BytesParser().parsebytes(wheel[f"{NAME}.dist-info/METADATA"])


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def listed_by_git(*arguments: str) -> set[str]:
    """The files of the repository that git lists and that are there."""
    command = ["git", "ls-files", "-z", *arguments]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return {name for name in output.split("\0") if (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    described = {name for name in wheel if name.startswith(f"{NAME}.dist-info/")}
    package = {f"django_tasks_q/{name}" for name in files(ROOT / "django_tasks_q")}
    assert set(wheel) - described == package
    kinds = {PurePosixPath(name).suffix for name in package}
    assert kinds >= {".css", ".html", ".js", ".mo", ".py", ".typed"}
    assert f"{NAME}.dist-info/licenses/LICENSE" in described


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout, but an sdist perhaps")
def test_the_sdist_holds_the_repository(unpacked):
    found = files(unpacked) - {"PKG-INFO"}
    assert sorted(listed_by_git("--cached") - found) == []
    assert sorted(found - listed_by_git("--cached", "--others", "--exclude-standard")) == []


def test_scripts_of_the_sdist_can_be_run(unpacked):
    for script in (".ci/run", "tests/mariadb.sh"):
        assert os.access(unpacked / script, os.X_OK), script


def test_the_sdist_makes_the_same_files(unpacked, folder, tmp_path):
    """Byte by byte, wherever and whenever: so anyone can check what was published."""
    build(unpacked, tmp_path)
    for name in (WHEEL, f"{NAME}.tar.gz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_no_file_names_a_path_of_the_machine_that_made_it(unpacked, wheel):
    contents = {name: (unpacked / name).read_bytes() for name in files(unpacked)} | wheel
    assert [name for name, content in contents.items() if LOCAL_PATH.search(content)] == []


class Links(HTMLParser):
    """Collects where links and images of a text lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"href", "src", "srcset"}]


def links(markdown: str) -> list[str]:
    return Links(MarkdownIt("gfm-like", {"linkify": False}).render(markdown)).found


def test_the_description_is_the_readme_and_its_links_lead_somewhere(metadata):
    assert metadata["Description-Content-Type"] == "text/markdown"
    readme, description = (ROOT / "README.md").read_text(), metadata.get_payload(decode=True).decode()
    assert description.splitlines()[0] == readme.splitlines()[0]
    source = dict(url.split(", ") for url in metadata.get_all("Project-URL"))["Source"]
    expected = []
    for link in links(readme):
        if re.match(r"\w+:|#", link):
            expected.append(link)
        else:
            assert (ROOT / link.partition("#")[0]).is_file(), link
            kind = "raw" if PurePosixPath(link).suffix in {".gif", ".png", ".svg", ".webp"} else "blob"
            expected.append(f"{source}/{kind}/v{__version__}/{link}")
    assert expected
    assert links(description) == expected


def test_the_metadata_say_where_all_is_found(metadata):
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert urls.keys() == {"Changelog", "Documentation", "Issues", "Source"}
    assert all(url.startswith("https://") for url in urls.values())
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Version"] == __version__


def test_the_versions_of_python_are_those_that_are_tested(metadata):
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    (matrix,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MATRIX"
    )
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier")), re.M)
    assert named == list(matrix)
    assert metadata["Requires-Python"] == f">={named[0]}"


def test_the_changelog_begins_with_what_is_released():
    heading = re.compile(r"^## \[(?P<version>.+?)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.M)
    newest = heading.search((ROOT / "CHANGELOG.md").read_text())
    if tag := os.environ.get("RELEASE_TAG"):
        assert tag == f"v{__version__}"
        assert newest["version"] == __version__
        assert newest["date"]
    else:
        assert newest["version"] in {"Unreleased", __version__}
