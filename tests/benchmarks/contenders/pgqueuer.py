from .base import Contender

TASKS = """
import asyncio
import asyncpg, django, psycopg
from asgiref.sync import sync_to_async
django.setup()
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, SyncPsycopgDriver
from pgqueuer.queries import SyncQueries
from work import jobs

async def main():
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("noop")
    async def noop(job):
        jobs.noop(int(job.payload))

    @pgq.entrypoint("orm")
    async def orm(job):
        await sync_to_async(jobs.orm)(int(job.payload))

    return pgq

opened = []

def queries():
    if not opened:
        opened.append(SyncQueries(SyncPsycopgDriver(psycopg.connect(autocommit=True))))
    return opened[0]

def send(name, number):
    queries().enqueue(name, b"%d" % number)

def send_many(name, numbers):
    payload = [b"%d" % number for number in numbers]
    queries().enqueue([name] * len(payload), payload, [0] * len(payload))
"""

#: Its command line fails with a current Typer, whatever it is told; this is what that would do.
WORKER = """
import asyncio
from pgqueuer.types import QueueExecutionMode
from work.tasks import main

async def run():
    await (await main()).run(batch_size=100, mode=QueueExecutionMode.MODE)

asyncio.run(run())
"""
DRAINING, WAITING = (["-c", WORKER.replace("MODE)", f"{mode})")] for mode in ("drain", "continuous"))

PGQUEUER = Contender(
    name="pgqueuer",
    package="pgqueuer",
    setting="two processes of `PgQueuer.run(batch_size=100)` on asyncpg; "
    "the ORM task through `sync_to_async`",
    requirements=("pgqueuer[asyncpg,psycopg]", "asgiref"),
    tasks=TASKS,
    setup=(["-m", "pgqueuer", "install"],),
    tables=("pgqueuer", "pgqueuer_log", "pgqueuer_statistics"),
    draining=(DRAINING,) * 2,
    waiting=(WAITING,) * 2,
    # A batch is begun at once: the last start says little of the last end.
    spent="SELECT extract(epoch FROM max(created) FILTER (WHERE status = 'successful') "
    "- min(created) FILTER (WHERE status = 'picked')), count(*) FILTER (WHERE status = 'successful') "
    "FROM pgqueuer_log",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5"}),
)
