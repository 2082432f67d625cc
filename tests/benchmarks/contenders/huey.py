from .base import Contender

TASKS = """
import django
django.setup()
from huey import SqliteHuey
from work import jobs

huey = SqliteHuey("bench", filename="huey.sqlite3")

@huey.task()
def noop(number):
    return jobs.noop(number)

def send(name, number):
    noop(number)

def send_many(name, numbers):
    for number in numbers:
        noop(number)
"""

HUEY = Contender(
    name="huey-sqlite",
    package="huey",
    setting="`-k process -w 2`, SqliteHuey at its defaults",
    requirements=("huey",),
    tasks=TASKS,
    emptying=(["-c", "from work.tasks import huey; huey.storage.flush_all()"],),
    waiting=(["-m", "huey.bin.huey_consumer", "work.tasks.huey", "-k", "process", "-w", "2", "-q"],),
    sqlite=True,
    rows=frozenset({"P11"}),
)
