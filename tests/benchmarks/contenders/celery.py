from .base import Contender

TASKS = """
import django
django.setup()
from celery import Celery
from work import jobs

app = Celery("work", broker="BROKER", backend="django-db")
app.conf.update(
    worker_prefetch_multiplier=128, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True,
    task_default_queue="bench", CELERY_DB_REUSE_MAX=1_000_000,
)

@app.task(ignore_result=True)
def noop(number):
    return jobs.noop(number)

@app.task
def orm(number):
    return jobs.orm(number)

tasks = {"noop": noop, "orm": orm}

def send(name, number):
    tasks[name].delay(number)

def send_many(name, numbers):
    with app.producer_pool.acquire() as producer:
        for number in numbers:
            tasks[name].apply_async((number,), producer=producer)
"""

COMMAND = ["-m", "celery", "-A", "work.tasks"]
WORKER = [*COMMAND, "worker", "--pool", "prefork", "-c", "2", "--without-gossip", "--without-mingle"]

CELERY = Contender(
    name="celery-redis",
    package="celery",
    setting="prefork of 2, prefetch multiplier 128, on Redis as it comes, which does not wait for its disk; "
    "no results of no-op jobs, those of ORM jobs in django-db with reused connections",
    requirements=("celery[redis]", "django-celery-results"),
    apps=("django_celery_results",),
    tasks=TASKS,
    emptying=([*COMMAND, "purge", "-f", "-Q", "bench"],),
    waiting=([*WORKER, "-Q", "bench", "--loglevel", "ERROR"],),
    broker="redis",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5"}),
)
