"""Run in our project by the profile: rows of two columns, stored by the driver alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg

TABLE = "DROP TABLE IF EXISTS barest; CREATE TABLE barest (id uuid PRIMARY KEY, arguments text)"


def one_by_one(connection: psycopg.Connection[Any], rows: int) -> None:
    for number in range(rows):
        connection.execute(
            "INSERT INTO barest VALUES (%s, %s)", (uuid4(), f"[[{number}],{{}}]"), prepare=True
        )


def by_copy(connection: psycopg.Connection[Any], rows: int) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY barest FROM STDIN") as copy:
        copy.write("".join(f"{uuid4()}\t[[{number}],{{}}]\n" for number in range(rows)))


if __name__ == "__main__":
    store: Callable[[psycopg.Connection[Any], int], None] = {"one": one_by_one, "copy": by_copy}[sys.argv[1]]
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(TABLE)
        store(connection, 10)
        begun, spent = time.perf_counter(), time.process_time()
        for _ in range(int(sys.argv[3])):
            store(connection, int(sys.argv[2]))
        print(json.dumps([time.perf_counter() - begun, time.process_time() - spent]))
