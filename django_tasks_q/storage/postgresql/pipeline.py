"""Statements in flight, while the process that sent them does something else.

The driver's own calls wait for the server. Here libpq's are used by themselves: several prepared statements
go out as one pipeline, which is one transaction and one round trip, and the results are fetched when they
have arrived (manual, "Pipeline Mode").
"""

from __future__ import annotations

import re
import select
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any

from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format

_BINARY = Format.BINARY

#: No name is used again, since a failed pipeline leaves an unknown set of statements behind.
_numbers = count()


class Pipeline:
    """A pipeline on one session, from its statements to its results."""

    def __init__(self, cursor: Any, prepared: dict[str, bytes]) -> None:
        #: Names of the statements that the session knows, by their text.
        self._prepared = prepared
        self._cursor = cursor
        self._pgconn = cursor.connection.pgconn
        self._expected: list[bool] = []

    def send(self, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Send statements with their values, none of which needs more than ``str()`` to be understood."""
        self._pgconn.enter_pipeline_mode()
        for text, values in statements:
            numbered, names = _numbered(text)
            if (name := self._prepared.get(text)) is None:
                name = self._prepared[text] = b"dtq_%d" % next(_numbers)
                self._pgconn.send_prepare(name, numbered)
                self._expected.append(False)
            parameters = [str(values[key]).encode() for key in names]
            self._pgconn.send_query_prepared(name, parameters, result_format=_BINARY)
            self._expected.append(True)
        self._pgconn.pipeline_sync()
        while self._pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            self._pgconn.consume_input()

    def fileno(self) -> int:
        return int(self._pgconn.socket)

    def has_landed(self) -> bool:
        """Return whether the results can be fetched without waiting."""
        self._pgconn.consume_input()
        return not self._pgconn.is_busy()

    def rows(self) -> list[list[tuple[Any, ...]]]:
        """Return the rows of each statement. Raise the driver's error if one failed."""
        results: list[list[tuple[Any, ...]]] = []
        failure: Any = None
        for is_asked in self._expected:
            result = self._next()
            if result is None or result.status == ExecStatus.FATAL_ERROR:
                failure = failure or result
            elif is_asked and result.status == ExecStatus.TUPLES_OK:
                transformer = Transformer(self._cursor)
                transformer.set_pgresult(result)
                results.append(transformer.load_rows(0, result.ntuples, tuple))
            if result is not None:
                self._next()  # the end of one statement's results
        failure = self._end() or failure
        self._pgconn.exit_pipeline_mode()
        if failure is not None:
            self._prepared.clear()  # some may have been prepared in vain
            raise error_from_result(failure, encoding="utf-8")
        return results

    def _end(self) -> Any:
        """Read to the end of the pipeline. Return the error of its commit, which may fail as well."""
        failure: Any = None
        while (result := self._next()) is None or result.status != ExecStatus.PIPELINE_SYNC:
            if result is not None and result.status == ExecStatus.FATAL_ERROR:
                failure = failure or result
        return failure

    def _next(self) -> Any:
        while not self.has_landed():
            self._wait(select.POLLIN)
        return self._pgconn.get_result()

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self.fileno(), events)
        poll.poll()


@cache
def _numbered(text: str) -> tuple[bytes, list[str]]:
    """A statement with the server's kind of parameters, and the names of the values in their order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return re.sub(r"%\((\w+)\)s", number, text).encode(), names
