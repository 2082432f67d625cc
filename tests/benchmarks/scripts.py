"""What the project of every contender has in common: settings, a model, jobs, and who feeds them."""

SETTINGS = """
SECRET_KEY = "benchmark"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [{apps}"work"]
DATABASES = {{"default": {database}}}
TASKS = {tasks}
LOGGING = {{"version": 1, "disable_existing_loggers": False,
           "loggers": {{"": {{"level": "ERROR"}}, "django": {{"level": "ERROR"}}}}}}
"""

MODELS = """
from django.db import models

class Thing(models.Model):
    count = models.IntegerField(default=0)
"""

#: What the jobs do. The stamp costs a contender without rows of its own a microsecond or two a job, and
#: so that nobody has an advantage, the others pay it as well.
JOBS = """
import os, struct, time
from functools import cache

@cache
def _file():
    return os.open(os.environ["BENCH_STAMPS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

def noop(number):
    os.write(_file(), struct.pack("dd", number, time.time()))
    return number

def orm(number):
    os.write(_file(), struct.pack("dd", number, time.time()))
    from work.models import Thing
    thing = Thing.objects.get(pk=number % 1000 + 1)
    thing.count = number
    thing.save(update_fields=["count"])
    return number
"""

THINGS = """
import django
django.setup()
from work.models import Thing
Thing.objects.bulk_create([Thing() for _ in range(1000)])
"""

#: ``send(name, number)`` and ``send_many(name, numbers)`` are the contender's own public way in.
FEED = """
import json, os, sys, time
import django
django.setup()
from work.tasks import send, send_many
mode, name, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
if mode == "one":
    send(name, 0)
    begun, spent = time.perf_counter(), time.process_time()
    for number in range(1, jobs):
        send(name, number)
    print([time.perf_counter() - begun, time.process_time() - spent])
elif mode == "many":
    chunk = int(sys.argv[4])
    begun, spent = time.perf_counter(), time.process_time()
    for start in range(0, jobs, chunk):
        send_many(name, range(start, min(start + chunk, jobs)))
    print([time.perf_counter() - begun, time.process_time() - spent])
elif mode == "tick":
    pause = float(sys.argv[4])
    committed = []
    for number in range(jobs):
        send(name, number)
        committed.append(time.time())
        time.sleep(pause)
    print(json.dumps(committed))
elif mode == "crowd":
    # Everybody is connected, and then begins when told to.
    send(name, 0)
    print("ready", flush=True)
    sys.stdin.readline()
    begun, spent = time.time(), time.process_time()
    for number in range(1, jobs + 1):
        send(name, number)
    print(json.dumps([begun, time.time(), time.process_time() - spent]), flush=True)
elif mode == "call":
    # The function alone, without a queue: what it costs in any.
    from work import jobs as functions
    function = getattr(functions, name)
    function(0)
    print("ready", flush=True)
    sys.stdin.readline()
    begun, spent = time.time(), time.process_time()
    for number in range(1, jobs + 1):
        function(number)
    print(json.dumps([begun, time.time(), time.process_time() - spent]), flush=True)
"""
