from .base import Contender

TASKS = """
import django
django.setup()
import procrastinate
from work import jobs

# The address is in the environment, as libpq reads it.
app = procrastinate.App(connector=procrastinate.PsycopgConnector())

@app.task(name="noop")
async def noop(number):
    return jobs.noop(number)

@app.task(name="orm")
def orm(number):
    return jobs.orm(number)

tasks = {"noop": noop, "orm": orm}
opened = []

def ready():
    if not opened:
        opened.append(app.open())

def send(name, number):
    ready()
    tasks[name].defer(number=number)

def send_many(name, numbers):
    ready()
    tasks[name].batch_defer(*({"number": number} for number in numbers))
"""

COMMAND = ["-m", "procrastinate", "--app", "work.tasks.app"]
WORKER = [*COMMAND, "worker", "--concurrency", "10"]

PROCRASTINATE = Contender(
    name="procrastinate",
    package="procrastinate",
    setting="two `worker --concurrency 10`; the no-op task is a coroutine, the ORM task a function",
    requirements=("procrastinate",),
    tasks=TASKS,
    setup=([*COMMAND, "schema", "--apply"],),
    tables=("procrastinate_jobs", "procrastinate_events", "procrastinate_workers"),
    draining=([*WORKER, "--one-shot"],) * 2,
    waiting=(WORKER,) * 2,
    spent="SELECT extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded') "
    "- min(at) FILTER (WHERE type = 'started')), count(*) FILTER (WHERE type = 'succeeded') "
    "FROM procrastinate_events",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5"}),
)
