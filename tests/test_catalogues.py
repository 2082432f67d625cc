"""The catalogues say all that the sources do, without the gettext tools."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation.template import templatize

import django_tasks_q

from .test_words import PHRASES

ROOT = Path(django_tasks_q.__file__).parent
LANGUAGES = ["de", "fr"]

#: How many of the arguments of a call are texts: the singular, and the plural where there is one.
CALLS = {"_": 1, "gettext": 1, "gettext_lazy": 1, "gettext_noop": 1, "ngettext": 2, "ngettext_lazy": 2}
LITERAL = r"""u?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
IN_TEMPLATES = re.compile(
    rf"(?:\bgettext|\b_)\(\s*{LITERAL}\s*\)|\bngettext\(\s*{LITERAL},\s*{LITERAL},", re.S
)

#: A text, and its plural or none.
Message = tuple[str, str]


def of_code() -> Iterator[Message]:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                texts = [
                    arg.value for arg in node.args[: CALLS.get(name, 0)] if isinstance(arg, ast.Constant)
                ]
                if texts:
                    yield str(texts[0]), str(texts[1]) if len(texts) > 1 else ""


def of_templates() -> Iterator[Message]:
    for path in (ROOT / "templates").rglob("*.html"):
        for found in IN_TEMPLATES.finditer(templatize(path.read_text())):
            alone, singular, plural = (ast.literal_eval(text or "''") for text in found.groups())
            yield alone or singular, plural


def catalogue(language: str) -> tuple[dict[Message, list[str]], str]:
    """The texts of a .po file and their translations, and the file itself."""
    source = (ROOT / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    entries: dict[Message, list[str]] = {}
    for entry in source.strip().split("\n\n"):
        texts: dict[str, str] = {}
        key = ""
        for line in entry.splitlines():
            found = re.fullmatch(r"""(?:(msgid|msgid_plural|msgstr(?:\[\d\])?) )?(".*")""", line)
            if found:
                key = found[1] or key
                texts[key] = texts.get(key, "") + ast.literal_eval(found[2])
        message = texts.pop("msgid"), texts.pop("msgid_plural", "")
        assert message not in entries, message
        entries[message] = list(texts.values())
    return entries, source


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[a-z]|%%|</?\w+>", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_the_texts_of_the_sources_and_no_others(language: str) -> None:
    texts = {*of_code(), *of_templates()}
    # A guard against a test that finds nothing: both kinds of source, and a plural of each.
    assert {("Dashboard", ""), ("Skip next", "")} <= texts
    assert ("%(count)s more character", "%(count)s more characters") in set(of_code())
    assert ("Retry %(count)s job?", "Retry %(count)s jobs?") in texts
    entries, _ = catalogue(language)
    known = set(entries) - {("", "")}
    # gettext keeps one entry for a text that is used alone and with a plural.
    singulars = {message[0] for message in known}
    assert sorted(message for message in texts - known if message[1] or message[0] not in singulars) == []
    assert sorted(known - texts) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    entries, source = catalogue(language)
    assert "#~" not in source  # nothing obsolete
    assert not re.search(r"^#,.*fuzzy", source, re.M)
    for (singular, plural), translations in entries.items():
        assert len(translations) == (2 if plural else 1), singular
        assert all(translations), singular
        if singular:
            for text, translation in zip((singular, plural), translations, strict=False):
                assert placeholders(translation) == placeholders(text), translation


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_no_noise_of_its_making(language: str) -> None:
    """Line numbers and dates would change with every edit of the sources."""
    _, source = catalogue(language)
    assert not re.search(r"^#:|POT-Creation-Date", source, re.M)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    entries, _ = catalogue(language)
    written: dict[str | tuple[str, int], str] = {}
    for (singular, plural), translations in entries.items():
        for number, translation in enumerate(translations):
            written[(singular, number) if plural else singular] = translation
    with (ROOT / "locale" / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert compiled._catalog == written  # type: ignore[attr-defined]


def test_no_text_has_words_that_the_project_does_not_use() -> None:
    texts = [text for message in {*of_code(), *of_templates()} for text in message]
    assert sorted(text for text in texts if PHRASES.search(text)) == []
