from .base import Contender

TASKS = """
import django
django.setup()
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from work import jobs

broker = RabbitmqBroker(url="BROKER")
dramatiq.set_broker(broker)

@dramatiq.actor
def noop(number):
    jobs.noop(number)

@dramatiq.actor
def orm(number):
    jobs.orm(number)

tasks = {"noop": noop, "orm": orm}

def send(name, number):
    tasks[name].send(number)

def send_many(name, numbers):
    dramatiq.group(tasks[name].message(number) for number in numbers).run()
"""

#: The queue is there before it is emptied.
FLUSH = "from work.tasks import broker; broker.declare_queue('default', ensure=True); broker.flush_all()"

DRAMATIQ = Contender(
    name="dramatiq-rabbitmq",
    package="dramatiq",
    setting="2 processes of 8 threads, its default, on RabbitMQ with durable queues; it stores no results",
    requirements=("dramatiq[rabbitmq]",),
    tasks=TASKS,
    emptying=(["-c", FLUSH],),
    waiting=(["-m", "dramatiq", "work.tasks", "--processes", "2", "--threads", "8"],),
    broker="rabbitmq",
    rows=frozenset({"P1", "P2", "P3", "P4", "P5"}),
)
