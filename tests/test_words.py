"""The words of the code and of the docs: each thing has one name, the one that its field has for it."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_tasks_q

pytestmark = pytest.mark.once

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(django_tasks_q.__file__).parent

#: Words that names of modules, classes, functions, attributes and variables are not made of, and what they
#: are called instead. ``moment`` and ``hint`` are none of them: a time is one, and checks of Django have one.
NAMES = {
    "answer": "the name of what it is: result, response, value, reply",
    "bell": "waiter",
    "deed": "command, action, verb",
    "doorbell": "waiter",
    "elsewhere": "cross_database, or the place",
    "exchange": "round trip",
    "flying": "in flight",
    "gathering": "batching",
    "heard": "received, has receivers",
    "intake": "fetcher",
    "ledger": "completer",
    "look": "poll, plan, query, check",
    "looking": "polling",
    "looks": "queries, reports, polls",
    "moved": "transition, changed",
    "nobody": "no one thing: name the subject",
    "note": "progress update",
    "notepad": "progress buffer",
    "notes": "progress updates",
    "orders": "control",
    "patience": "timeout",
    "presence": "lease, worker",
    "ring": "notify",
    "settle": "decide, complete",
    "settled": "awaited, decided, completed",
    "somebody": "the name of the role",
    "staff": "workers",
    "stray": "orphan",
    "strays": "orphans",
    "tally": "metrics",
    "tell": "send, report",
    "telling": "sending, reporting",
    "timetable": "schedule display",
    "told": "sent, reported, described",
    "unheard": "unsent",
    "untold": "unsent",
    "whoever": "the name of the role",
    "wish": "claim, plan",
    "wishes": "claims, plans",
    "duty": "maintenance",
    "duties": "maintenance",
    "beat": "heartbeat file",
    "board": "shared memory, attempt clock",
    "granted": "claimed",
}  # fmt: skip
#: Names of modules that an earlier version had. Rooms and modules go by the field's names.
MODULES = {
    "announcer", "beat", "board", "bound", "deeds", "direct", "doorbells", "duties", "elsewhere", "figures",
    "flight", "gathering", "groups", "handle", "inputs", "intake", "ledger", "looks", "moments",
    "notepad", "notes", "orders", "parent", "patience", "presence", "record", "sending", "several", "single",
    "staff", "strays", "tally", "telling", "timetable", "utils", "yields",
}  # fmt: skip
#: Names that Python, Django and the standard library have given, and one of a stored column.
GIVEN_NAMES = {"add_note"}
#: Text that a reader has to guess the subject of, or that belongs to the words above.
PHRASES = re.compile(
    r"\b(?:somebody|nobody|whoever|settle[sd]?|settling|tell|tells|telling|told|untold|heard|unheard"
    r"|doorbells?|bells?|strays?|deeds?|wish|wishes|intake|ledger|tally|notepad|duty|duties|patience"
    r"|in hand|has? it done|have it done|of its own"
    # "The answer" of a server is one; "the function answers" is "the function returns".
    r"|answers(?!\s*\"))\b",
    re.IGNORECASE,
)

#: What is still to be reworded: findings by room, or by folder of the docs. Rooms that are not named have
#: none. A number only goes down; a room without findings leaves the table.
NAMES_LEFT: dict[str, int] = {
    "admin": 2,
    "events.py": 2,
    "execution": 14,
    "management": 1,
    "models": 1,
    "storage": 49,
    "testing.py": 2,
    "worker": 15,
}
PHRASES_LEFT: dict[str, int] = {
    ".": 1,
    "docs": 2,
    "docs/adr": 4,
    "docs/development": 2,
    "docs/explanation": 4,
    "docs/how-to": 9,
    "docs/reference": 11,
    "storage": 2,
    "worker": 2,
}


def modules() -> Iterator[Path]:
    """The package's modules, without migrations, whose text is history."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(path.read_text()).readline)


def room_of(path: Path) -> str:
    """The first folder below the package, or the module itself."""
    return path.relative_to(PACKAGE).parts[0]


def words(name: str) -> list[str]:
    """``is_firstLook`` as ``["is", "first", "look"]``."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def names_in(path: Path) -> Iterator[str]:
    """The identifiers of a module that are made of words which are not used."""
    for token in tokens(path):
        if token.type == tokenize.NAME and token.string not in GIVEN_NAMES:
            for word in words(token.string):
                if word in NAMES:
                    yield f"{path.relative_to(PACKAGE)}:{token.start[0]}: {token.string} ({NAMES[word]})"


def phrases_in(path: Path) -> Iterator[str]:
    """The phrases in comments, docstrings and messages of a module that are not used."""
    for token in tokens(path):
        if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            for found in PHRASES.finditer(token.string):
                line = token.start[0] + token.string.count("\n", 0, found.start())
                yield f"{path.relative_to(PACKAGE)}:{line}: {found[0]}"


def judged(findings: dict[str, list[str]], left: dict[str, int]) -> list[str]:
    """The findings of all rooms that have more of them than are left to be reworded."""
    return [
        line for room, found in findings.items() if len(found) > left.get(room, 0) for line in (room, *found)
    ]


def by_room(find) -> dict[str, list[str]]:
    findings: dict[str, list[str]] = {}
    for path in modules():
        findings.setdefault(room_of(path), []).extend(find(path))
    return findings


def test_names_are_made_of_the_words_of_the_field():
    assert judged(by_room(names_in), NAMES_LEFT) == []


def test_modules_have_the_names_of_the_field():
    parts = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert parts & MODULES == set()


def test_docstrings_comments_and_messages_name_their_subject():
    assert judged(by_room(phrases_in), PHRASES_LEFT) == []


def test_pages_of_the_docs_name_their_subject():
    findings: dict[str, list[str]] = {}
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        place = path.relative_to(REPOSITORY)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for found in PHRASES.finditer(line):
                findings.setdefault(str(place.parent), []).append(f"{place}:{number}: {found[0]}")
    assert judged(findings, PHRASES_LEFT) == []


def test_a_word_that_is_not_used_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / "room.py"
    path.write_text('def _untoldJobs():\n    """Answers\n    what somebody\'s wish is."""\n')
    assert list(names_in(path)) == ["room.py:1: _untoldJobs (unsent)"]
    assert list(phrases_in(path)) == ["room.py:2: Answers", "room.py:3: somebody", "room.py:3: wish"]


def test_no_export_of_the_package_is_the_name_of_a_submodule():
    # Importing ``django_tasks_q.task`` would make ``from django_tasks_q import task`` return the module.
    submodules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(django_tasks_q.__all__) & submodules == set()


#: Where else JSON is read or written: text that is in no column of a job, or is compared and never read.
JSON_BESIDE_PAYLOAD = {
    "actions/bulk_requests.py": "the text of a signature",
    "admin/form_fields.py": "what a person has typed into a form",
    "admin/formatting.py": "a value as it is shown",
    "admin/job_list.py": "the filters in an address",
    "admin/pagination.py": "a place in a list, in an address",
    "admin/schedules.py": "what a person has typed into a form",
    "api/events.py": "the events of a stream",
    "api/idempotency.py": "the text of a fingerprint",
    "api/jobs.py": "the text of an ETag",
    "api/parsers.py": "bodies of requests",
    "management/enqueue.py": "what a person has typed into a shell",
    "management/output.py": "output for programs",
    "storage/sqlite.py": "parameters of a statement",
    "worker/children/fork_server.py": "messages to a process",
    "worker/own_process.py": "messages of a process",
    "worker/children/pool.py": "messages to a process",
    "worker/children/protocol.py": "messages to a process",
    "worker/heartbeat_file.py": "a file that other programs read",
}  # fmt: skip
_READS_JSON = {"json", "orjson", "msgspec", "simplejson", "ujson"}


def test_stored_text_is_read_and_written_by_payload_alone():
    users = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if _READS_JSON.intersection(name.partition(".")[0] for name in names):
                users.add(str(path.relative_to(PACKAGE)))
    assert {path for path in users if room_of(PACKAGE / path) != "payload"} == set(JSON_BESIDE_PAYLOAD)


def test_the_tables_of_what_is_left_name_places_that_exist():
    places = Counter({room_of(path) for path in modules()})
    places.update(
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*") if path.is_dir()
    )
    places.update([".", "docs"])
    assert (NAMES_LEFT.keys() | PHRASES_LEFT.keys()) - places.keys() == set()
