"""A visitor of the admin, who follows every link, presses every button, and looks closely at each page."""

from __future__ import annotations

import re
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import UUID

from django.contrib.messages import get_messages
from django.core.signals import got_request_exception
from django.db import connections, transaction

from .variants import MISSING

#: Attributes that hold a number, or several.
NUMBERS = {
    *("x", "y", "x1", "x2", "y1", "y2", "width", "height", "rx", "dy", "points", "viewbox"),
    *("max", "min", "colspan", "rows", "cols", "maxlength"),
}
NUMBER = re.compile(r"-?\d+(\.\d+)?([ ,]-?\d+(\.\d+)?)*\Z")
#: Those that a browser would follow or load.
ADDRESSES = {"href", "src", "action", "formaction", "data-url"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
#: Pages of one site that are looked at.
MOST = 200
#: What is filled into a field that is required and empty.
FILLED = {
    "expression": "0 3 * * *",
    "name": "made by a visitor",
    "priority": "7",
    "queue_name": "mails",
    "max_running": "1234",
    "argument-order": "12",
    "argument-to": "a@example.com",
    "argument-numbers": "[1, 2]",
    "argument-weight": "2.50",
}


@dataclass
class Form:
    """A form of a page, and its buttons: where each sends it, and what it adds."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.url = url
        self.source = text
        self.problems: list[str] = []
        self.links: list[str] = []
        self.forms: list[Form] = []
        #: Each element with the names of its attributes, for those who know which there may be.
        self.elements: set[tuple[str, ...]] = set()
        self.text = ""
        self._open: list[str] = []
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self._area: list[str] | None = None
        self.feed(text)
        self.close()
        if self._open and "html" in self._open:
            self.problems.append(f"never closed: {self._open}")
        if MISSING in text:
            found = sorted(set(re.findall(rf"{MISSING}[\w.|:]*", text)))
            self.problems.append(f"missing variables: {found}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.add((tag, *sorted(given)))
        for name, value in given.items():
            if name.startswith("on") or name == "style":
                self.problems.append(f"<{tag} {name}={value!r:.80}> is refused by a strict policy")
            if name in NUMBERS and value and not NUMBER.match(value) and not value.endswith(("%", "rem")):
                self.problems.append(f"<{tag} {name}={value!r:.80}> is no number")
            if name in ADDRESSES:
                self.links.append(urljoin(self.url, value or self.url))
        if tag == "progress" and not NUMBER.match(given.get("value", "0")):
            self.problems.append(f"<progress value={given['value']!r}> is no number")
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.problems.append("a script within the page is refused by a strict policy")
        self._form(tag, given)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def _form(self, tag: str, given: dict[str, str]) -> None:
        if tag == "form":
            action = urljoin(self.url, given.get("action") or self.url)
            self.forms.append(Form(action, given.get("method", "get").lower()))
        if not self.forms:
            return
        form, name = self.forms[-1], given.get("name", "")
        if tag == "button" or (tag == "input" and given.get("type") == "submit"):
            if given.get("type") != "button":
                target = urljoin(self.url, given["formaction"]) if given.get("formaction") else form.action
                form.buttons.append((target, [(name, given.get("value", ""))] if name else []))
        elif tag == "input" and name:
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                form.fields.append((name, given.get("value", "")))
        elif tag == "select" and name:
            self._select = (name, [])
        elif tag == "option" and self._select:
            self._select[1].append((given.get("value", ""), "selected" in given))
        elif tag == "textarea" and name:
            self._area = [name, ""]

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._select:
            name, options = self._select
            chosen = [value for value, is_chosen in options if is_chosen] or [
                value for value, _ in options[:1]
            ]
            self.forms[-1].fields += [(name, value) for value in chosen[:1]]
            self._select = None
        if tag == "textarea" and self._area:
            self.forms[-1].fields.append((self._area[0], self._area[1].removeprefix("\n")))
            self._area = None
        while self._open and tag in self._open:
            if self._open.pop() == tag:
                break

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1] += data
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data


class Visitor:
    """Goes over one admin site, and keeps what is wrong with it."""

    def __init__(self, client: Any, site: str, strip: str = "", *, is_long: bool = False) -> None:
        self.client = client
        self.site = site
        self.home = f"{site}django_tasks_q/"
        self.strip = strip
        #: Every row and every filter, instead of the first two of a kind.
        self.is_long = is_long
        self.problems: list[str] = []
        self.pages: dict[str, Page] = {}
        #: What became of each button: the status, where it led, and the levels of the messages for the user.
        self.pressed: dict[str, list[Any]] = {}
        self.look: Callable[[Page], None] = lambda page: None
        self._error = ""

    def visit(self) -> None:
        """Every page that can be reached, and then every button on them."""
        got_request_exception.connect(self._keep_error)
        try:
            self._follow()
            self._press_all()
        finally:
            got_request_exception.disconnect(self._keep_error)

    def _follow(self) -> None:
        ways = deque(
            self.home + path
            for path in ("", "job/dashboard/", "job/", "queue/", "worker/", "schedule/", "schedule/add/")
        )
        seen: set[str] = set()
        kinds: Counter[Any] = Counter()
        while ways and len(self.pages) < MOST:
            url = ways.popleft().partition("#")[0]
            kind = _kind(url, self.is_long)
            if url in seen or kinds[kind] == (1 if self.is_long else 2):
                continue
            seen.add(url)
            kinds[kind] += 1
            page = self._open(url)
            if page is None:
                continue
            self.pages[url] = page
            ways += [link for link in page.links if self._is_ours(link)]

    def _open(self, url: str, data: Any = None, why: str = "") -> Page | None:
        """Get or post; what is wrong with the answer is kept. None where it is no page."""
        response = self._answer = self._ask(url, data)
        told = f"{'GET' if data is None else 'POST'} {url}{why}"
        if response.status_code >= 500:
            self.problems.append(f"{told}: {response.status_code}\n{self._error}")
            return None
        if target := response.headers.get("Location"):
            self._check(urljoin(url, target), told)
            return None
        if not response.headers.get("Content-Type", "").startswith("text/html"):
            return None
        if response.status_code not in (200, 400, 405):
            self.problems.append(f"{told}: {response.status_code}")
            return None
        page = Page(url, _text(response))
        self.problems += [f"{told}: {problem}" for problem in page.problems]
        for link in page.links:
            self._check(link, told)
        self.look(page)
        return page

    def _ask(self, url: str, data: Any) -> Any:
        parts = urlsplit(url)
        path = parts.path
        if self.strip and path.startswith(self.strip):
            path = path[len(self.strip) :]
        path += f"?{parts.query}" if parts.query else ""
        self._error = ""
        if data is None:
            return self.client.get(path, secure=True)
        return self.client.post(path, data, secure=True, HTTP_REFERER="https://testserver/")

    def _keep_error(self, **more: Any) -> None:
        self._error = traceback.format_exc()[-3000:]

    def _is_ours(self, link: str) -> bool:
        return urlsplit(link).path.startswith(self.home) and "/logout" not in link

    def _check(self, link: str, told: str) -> None:
        """A link stays on its site; the way out of it, and files, are Django's own."""
        parts = urlsplit(link)
        root = f"{self.strip}/"
        is_way_out = (
            parts.path in (root, root[:-1]) or "/static/" in parts.path or parts.path.endswith("/jsi18n/")
        )
        if parts.netloc not in ("", "testserver") or not (parts.path.startswith(self.site) or is_way_out):
            self.problems.append(f"{told}: {link} leaves {self.site}")

    # Buttons

    def _press_all(self) -> None:
        pressed: set[Any] = set()
        for url, page in list(self.pages.items()):
            for form in page.forms:
                if not form.action.startswith(self.home) and not self._is_ours(form.action):
                    continue
                for target, added in form.buttons:
                    key = (_kind(target, False), form.method, *added)
                    if self.is_long:
                        key = (*key, *sorted({name for name, _ in form.fields}))
                    if key in pressed or not self._is_ours(target):
                        continue
                    pressed.add(key)
                    self._press(url, form, target, added)

    def _press(self, url: str, form: Form, target: str, added: list[tuple[str, str]]) -> None:
        """Send a form, and answer what is asked. Afterwards all is as it was."""
        with undone():
            data = _filled(form, added)
            if form.method == "get":
                query = "&".join(f"{name}={value}" for name, value in data.items())
                self._open(f"{target.partition('?')[0]}?{query}", why=f" by a form of {url}")
                return
            asked = self._open(target, data, f" by a button of {url}")
            self._note("pressed", target, data)
            for again in asked.forms if asked is not None else []:
                for place, more in again.buttons:
                    if again.method != "post" or not self._is_ours(place):
                        continue
                    with undone():
                        answer = _filled(again, more)
                        told = self._open(place, answer, f" by a confirmation from {url}")
                        self._note("confirmed", place, answer)
                        # Whatever is asked is a page with its form; a confirmed one leads on.
                        if told is not None and "confirmed" in answer:
                            errors = re.findall(
                                r'class="errorlist.*?</ul>|tasks-problem.*?<', told.source, re.S
                            )[:3]
                            self.problems.append(
                                f"POST {place} by a confirmation from {url}: not accepted {errors} {answer}"
                            )

    def _note(self, what: str, target: str, data: dict[str, Any]) -> None:
        place = urlsplit(target).path.removeprefix(self.home)
        lead = urlsplit(self._answer.headers.get("Location", "")).path.removeprefix(self.home)
        lead = "/".join(map(_general, lead.split("/")))
        told = [message.level_tag for message in get_messages(self._answer.wsgi_request)][-1:]
        key = f"{what} {'/'.join(map(_general, place.split('/')))} with {','.join(sorted(data))}"
        self.pressed.setdefault(
            key, [self._answer.status_code, "/".join(map(_general, lead.split("/"))), told]
        )


def _filled(form: Form, added: list[tuple[str, str]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, value in form.fields:
        data[name] = value or FILLED.get(name, "")
    data |= dict(added)
    if "expression" in data:
        data |= {"task": "tests.variety.orders.tasks.ship", "args": "[1]"}
    if "typed" in data:
        data["typed"] = data.get("queue", "")
    return data


def _kind(url: str, is_long: bool) -> Any:
    """What addresses have in common that show the same kind of page."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    path = "/".join(map(_general, parts.path.split("/")))
    if not is_long:
        return path, tuple(sorted(query))
    if parts.path.endswith("/change/"):
        path = parts.path  # each row is a page of its own
    return path, tuple(sorted(query)), query.get("status"), query.get("span"), query.get("task", "")[:40]


def _general(part: str) -> str:
    if part.isdigit():
        return "0"
    try:
        UUID(part)
    except ValueError:
        return part
    return "id"


def _text(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    if response.headers.get("Content-Encoding") == "gzip":
        import gzip

        content = gzip.decompress(content)
    return content.decode()


@contextmanager
def undone(aliases: Iterable[str] = ()) -> Iterator[None]:
    """Whatever is written within, to these databases or to all, is not there afterwards."""
    with ExitStack() as stack:
        for alias in aliases or connections:
            stack.enter_context(_undone(alias))
        yield


@contextmanager
def _undone(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)
