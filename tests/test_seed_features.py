"""What the pages of other systems show, by way of real worker processes on every database.

The rows of docs/reference/seed-features.md name these tests. Each starts one worker where it can.
"""

import json
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync

from django_tasks_q import BoundTask, current_context, enqueue, task
from django_tasks_q.definition.registry import registry
from django_tasks_q.exceptions import JobFailed, TaskNotRegistered, UnserializableValue
from django_tasks_q.models import Job
from testproject.shop.models import Product

from .conftest import on_one_database
from .project import Project
from .seedapp import tasks
from .seedapp.tasks import Point, Size
from .tasksapp.models import Effect
from .test_worker import finished, job, options, outcomes

pytestmark = pytest.mark.every_pair


@pytest.fixture(autouse=True)
def seedapp(request):
    """Have the project's processes know the tasks."""
    if "project" in request.fixturenames:
        request.getfixturevalue("project").env["EXTRA_APPS"] = json.dumps(["tests.seedapp"])


@pytest.fixture
def idle(tmp_path) -> Project:
    """A project of which only the settings and the code matter."""
    project = Project("idle", f"sqlite:///{tmp_path / 'idle.sqlite3'}", tmp_path)
    project.env["EXTRA_APPS"] = json.dumps(["tests.seedapp"])
    return project


def run(project, *results):
    """Run what there is to its end, in one child process of each kind."""
    project.run("runworker", "--batch", "--processes", "1")
    return finished(project, *results, timeout=5)


def stored(value):
    """A JSON column as it is read, whether or not the field decodes it."""
    return json.loads(value) if isinstance(value, str) else value


def traces():
    return list(Effect.objects.order_by("pk").values_list("key", flat=True))


@on_one_database
def test_s03_a_call_may_be_named_and_bound(project):
    """By the name, by a name of old, and as a call that is made before it is sent."""
    assert tasks.renamed.name == "seed.renamed"
    stale = tasks.renamed.enqueue("stale")
    Job.objects.filter(pk=stale.id).update(task_name="seed.old")
    by_alias = enqueue("seed.older", ("alias",))
    by_name = enqueue("seed.add", (1,), {"b": 2}, priority=3)
    call = tasks.add.bind(3, b=4)
    bound = call.using(priority=-2).enqueue()
    thawed = BoundTask.from_json(call.to_json()).enqueue()
    stranger = enqueue("no.such.task", (1,), {"b": [2]}, allow_unregistered=True)
    with pytest.raises(TaskNotRegistered, match=r"seed\.ad"):
        enqueue("seed.ad", (1,))
    with pytest.raises(TypeError, match="missing a required argument"):
        enqueue("seed.add")

    run(project, stale, by_alias, by_name, bound, thawed)
    assert (stale.return_value, by_alias.return_value) == ("renamed stale", "renamed alias")
    assert (by_name.return_value, bound.return_value, thawed.return_value) == (3, 7, 7)
    assert (job(by_name).priority, job(bound).priority) == (3, -2)
    row = job(stranger)
    assert (row.status, row.task_name, row.args, row.kwargs) == ("READY", "no.such.task", [1], {"b": [2]})


def test_s10_a_bound_call_is_a_value():
    import pickle
    from dataclasses import FrozenInstanceError

    call = tasks.add.bind(1, b=2)
    assert call == tasks.add.bind(1, b=2) != tasks.add.bind(1, b=3)
    assert pickle.loads(pickle.dumps(call)) == call
    assert BoundTask.from_json(call.to_json()) == call
    assert call.using(priority=5) != call
    assert call() == tasks.add(1, b=2) == 3
    with pytest.raises((FrozenInstanceError, AttributeError)):
        call.args = (7,)
    with pytest.raises(TypeError, match="missing a required argument"):
        tasks.add.bind()


def test_s05_two_tasks_of_one_name_are_an_error_that_names_both(idle, tmp_path):
    body = "from django_tasks_q import task\n@task(name={!r}, aliases={!r})\ndef run(): pass\n"
    for app, aliases in (("first", []), ("second", ["seed.renamed"])):
        (tmp_path / app).mkdir()
        (tmp_path / app / "__init__.py").touch()
        (tmp_path / app / "tasks.py").write_text(body.format("same" if not aliases else "other", aliases))
    idle.env["PYTHONPATH"] = str(tmp_path)
    idle.env["EXTRA_APPS"] = json.dumps(["tests.seedapp", "first"])
    assert idle.run("check", "--tag", "tasks").returncode == 0
    idle.env["EXTRA_APPS"] = json.dumps(["tests.seedapp", "second"])
    done = idle.run("check", "--tag", "tasks", check=False)
    assert done.returncode != 0
    assert "seed.renamed" in done.stderr
    (tmp_path / "second" / "tasks.py").write_text(body.format("same", []))
    idle.env["EXTRA_APPS"] = json.dumps(["first", "second"])
    done = idle.run("check", "--tag", "tasks", check=False)
    assert done.returncode != 0
    assert "first.tasks.run" in done.stderr
    assert "second.tasks.run" in done.stderr


def test_s15_keyword_only_signatures_may_be_demanded(idle):
    assert idle.run("check", "--tag", "tasks").returncode == 0
    options(idle, strict_signatures=True)
    done = idle.run("check", "--tag", "tasks", check=False)
    assert done.returncode == 1
    assert "seed.add" in done.stderr
    assert "django_tasks_q.E0" in done.stderr
    assert "strict_by_keyword" not in done.stderr


@on_one_database
def test_s16_arguments_come_back_as_their_annotations_say(project):
    cup = Product.objects.create(name="Cup", price="3.50")
    point = Point(7, date(2026, 2, 3))
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    values = (
        Decimal("9.90"),
        uuid4(),
        moment,
        date(2026, 1, 2),
        clock_time(3, 4, 5),
        timedelta(days=1, microseconds=7),
        Size.LARGE,
        point,
        cup,
        [Decimal("1.10"), Decimal(2)],
        (7, date(2026, 1, 2)),
        {UUID(int=7)},
        {"a": point},
        None,
    )
    plain = {"any": [1, "two", None]}
    told = tasks.tell_types.enqueue(*values, plain=plain)
    awaited = tasks.tell_type_async.enqueue(Decimal("0.10"))
    with pytest.raises(UnserializableValue, match="annotat"):
        tasks.untyped.enqueue(Decimal("9.90"))
    run(project, told, awaited)
    assert told.return_value == [repr(value) for value in (*values, plain)]
    assert awaited.return_value == "Decimal('0.10')"


@on_one_database
def test_s16_pydantic_models_are_arguments_too(project):
    pytest.importorskip("pydantic")
    from .seedapp import pydantic_tasks

    options(project, task_modules=["tests.seedapp.pydantic_tasks"])
    result = pydantic_tasks.total.enqueue(pydantic_tasks.Order(lines=[{"price": "2.50", "quantity": 2}]))
    run(project, result)
    assert result.return_value == "5.00"


def test_s17_descriptions_tags_and_metadata_are_known_and_stored(project):
    plain = tasks.described.enqueue()
    more = tasks.described.using(tags=["urgent"], metadata={"level": 2, "trace": "t-1"}).enqueue()
    assert tasks.described_otherwise.description == "Not the docstring."
    with pytest.raises(TypeError, match="team"):
        task(team="money")
    run(project, plain, more)
    assert plain.return_value["description"] == tasks.described.description == "Say what is known of it."
    assert plain.return_value["metadata"] == {"team": "money", "level": 1}
    assert more.return_value["metadata"] == {"team": "money", "level": 2, "trace": "t-1"}
    assert sorted(stored(job(plain).tags)) == ["billing", "nightly"]
    assert sorted(stored(job(more).tags)) == ["billing", "nightly", "urgent"]
    assert stored(job(more).metadata) == more.return_value["metadata"]
    listed = project.run("tasks").stdout
    assert "seed.add" in listed
    assert "Say what is known of it." in listed


@on_one_database
def test_s22_settings_are_the_defaults_of_tasks(project, tmp_path):
    """Priority, routes, storing, and the modules that tasks are looked for in."""
    (tmp_path / "elsewhere.py").write_text(
        "from django_tasks_q import task\n@task(name='elsewhere.run')\ndef run():\n    return 'elsewhere'\n"
    )
    project.env["PYTHONPATH"] = str(tmp_path)
    options(
        project,
        priority=7,
        routes={"*.routed": {"queue_name": "routes", "timeout": 600}},
        task_modules=["elsewhere"],
        store_result=False,
    )
    code = (
        "from django_tasks_q import enqueue\n"
        "from tests.seedapp import tasks\n"
        "for result in [tasks.routed.enqueue(), tasks.report_weekly.enqueue(), enqueue('elsewhere.run')]:\n"
        "    print('id', result.id)\n"
    )
    lines = project.run("shell", "-c", code).stdout.splitlines()
    ids = [line.split()[1] for line in lines if line.startswith("id ")]
    project.run("runworker", "--batch", "--processes", "1")
    routed, weekly, elsewhere = (Job.objects.get(pk=id) for id in ids)
    assert {row.status for row in (routed, weekly, elsewhere)} == {"SUCCESSFUL"}
    assert (routed.queue_name, routed.timeout, routed.priority) == ("routes", 600.0, 7)
    assert (weekly.queue_name, weekly.max_attempts, "weekly" in stored(weekly.tags)) == ("slow", 2, True)
    assert tasks.report_daily.queue_name == "reports"
    assert routed.return_value is None


@on_one_database
def test_s23_retries_are_runs_behind_the_first(project):
    three = tasks.fail_with_retries.enqueue()
    none = tasks.fail_with_retries.using(max_retries=0).enqueue()
    with pytest.raises(TypeError):
        task(max_retries=2, max_attempts=3)(tasks.whose)
    run(project, three, none)
    assert (three.attempts, none.attempts) == (3, 1)
    assert outcomes(three) == ["failed"] * 3


@on_one_database
def test_s31_failures_have_codes_and_data(project):
    options(project, error_codes={"builtins.LookupError": "LOOKUP"}, default_error_code="UNKNOWN")
    kinds = {"time": "TIMEOUT", "refused": "CONNECTION", "file": "SYSTEM", "value": "SOMETHING"}
    coded = {kind: tasks.fail_coded.enqueue(kind) for kind in kinds}
    plain = {kind: tasks.fail_plainly.enqueue(kind) for kind in ("value", "lookup")}
    told = [tasks.fail_with_data.enqueue(how) for how in ("raise", "return")]
    run(project, *coded.values(), *plain.values(), *told)
    assert {kind: result.errors[-1].code for kind, result in coded.items()} == kinds
    assert {kind: job(result).error_code for kind, result in coded.items()} == kinds
    assert {kind: result.attempts for kind, result in coded.items()} == dict.fromkeys(kinds, 1) | {
        "refused": 3
    }
    assert [plain[kind].errors[-1].code for kind in ("value", "lookup")] == ["UNKNOWN", "LOOKUP"]
    for result in told:
        error = result.errors[-1]
        assert (error.code, error.message) == ("MISSING_EMAIL", "no address")
        assert error.data == {"field": "email", "tried": [1, 2]}


def test_s35_results_are_checked_left_out_and_encoded(project):
    kept = tasks.promise_number.enqueue("number")
    broken = tasks.promise_number.enqueue("word")
    lists = [tasks.promise_list.enqueue(kind) for kind in ("list", "none", "words")]
    left_out = tasks.return_an_object.enqueue()
    sent_out = tasks.add.using(store_result=False).enqueue(1, 2)
    nothing = tasks.return_nothing.enqueue()
    root, text, unit = tasks.square_root.enqueue(-4), tasks.number_as_text.enqueue(), tasks.unit.enqueue()
    run(project, kept, broken, *lists, left_out, sent_out, nothing, root, text, unit)

    assert kept.return_value == 1
    assert (broken.errors[-1].code, broken.attempts) == ("RETURN_TYPE_MISMATCH", 1)
    assert [result.return_value for result in lists[:2]] == [[1, 2], None]
    assert lists[2].errors[-1].code == "RETURN_TYPE_MISMATCH"
    for result in (left_out, sent_out, nothing):
        assert (job(result).status, result.return_value) == ("SUCCESSFUL", None)
    assert (root.return_value, text.return_value, unit.return_value) == (2j, 12, 1j)
    assert tasks.square_root.get_result(root.id).get(timeout=1) == 2j


def test_s38_values_and_rows_are_kept_as_long_as_said(project):
    value = tasks.value_for_a_while.enqueue()
    sent = tasks.add.using(result_ttl=0.5).enqueue(1, 2)
    row, failed = tasks.row_for_a_while.enqueue("return"), tasks.row_for_a_while.enqueue("fail")
    kept = tasks.add.enqueue(1, 2)
    run(project, value, sent, row, failed, kept)
    time.sleep(0.7)
    project.run("prune_tasks")
    left = set(Job.objects.values_list("pk", flat=True))
    assert left == {UUID(result.id) for result in (value, sent, kept)}
    assert [job(result).result for result in (value, sent)] == [None, None]
    assert {job(result).status for result in (value, sent)} == {"SUCCESSFUL"}
    assert job(kept).return_value == 3


def test_s41_a_result_is_waited_for(project):
    waiting = tasks.add.enqueue(1, 2)
    with pytest.raises(TimeoutError):
        waiting.get(timeout=0.1)
    with project.worker("--processes", "1"):
        assert waiting.get(timeout=20) == 3
        assert async_to_sync(tasks.add.enqueue(3, 4).aget)(timeout=20) == 7
        began = time.monotonic()
        assert tasks.add.enqueue(5, 6).get(timeout=20) == 11
        assert time.monotonic() - began < 5
        with pytest.raises(JobFailed, match="value"):
            tasks.fail_plainly.enqueue("value").get(timeout=20)


@on_one_database
def test_s49_the_context_is_found_from_below(project):
    found = [tasks.find_context, tasks.find_context_async, tasks.find_context_in_thread]
    results = [one.enqueue() for one in found]
    with pytest.raises(LookupError):
        current_context()
    run(project, *results)
    assert [result.return_value for result in results] == [result.id for result in results]


@on_one_database
def test_s50_the_context_tells_of_job_task_and_settings(project):
    options(project, grace=4)
    result = tasks.tell_context.enqueue()
    awaited = tasks.tell_context_async.using(metadata={"sent": 1}).enqueue()
    run(project, result, awaited)
    told = result.return_value
    is_adapter, extra = told.pop("logger")
    assert is_adapter
    assert result.id in extra
    assert told == {
        "job_id": result.id,
        "worker_id": result.worker_ids[-1],
        "attempt": 2,
        "last": True,
        "result": result.id,
        "backend": "default",
        "grace": 4,
        "time zone": "UTC",
        "task": ["tests.seedapp.tasks.tell_context", 2, ["context"]],
        "job": [result.id, "RUNNING", 2],
        "metadata": {"seen": 1},
    }
    assert awaited.return_value == {"job": awaited.id, "metadata": {"sent": 1, "left": "async"}}
    assert stored(job(awaited).metadata) == {"sent": 1, "left": "async"}


@on_one_database
def test_s57_a_task_cancels_itself_with_a_reason(project):
    result = tasks.cancel_self_async.enqueue("no more orders")
    run(project, result)
    assert (job(result).status, result.errors[-1].message) == ("CANCELLED", "no more orders")
    assert outcomes(result) == ["cancelled"]


def test_s59_jobs_know_which_job_has_sent_them(project):
    parents = [tasks.spread.enqueue(), tasks.spread_async.enqueue()]
    run(project, *parents)
    first, second = (result.return_value for result in parents)
    assert [Job.objects.get(pk=id).return_value for id in first] == [3, 7, parents[0].id]
    assert [Job.objects.get(pk=id).return_value for id in second] == [11, 15]
    for parent in parents:
        children = Job.objects.filter(parent_id=parent.id)
        assert {str(child.pk) for child in children} == set(parent.return_value)
        assert job(parent).parent_id is None


@on_one_database
def test_s58_an_exception_may_be_replaced_by_middleware(project):
    near, far = tasks.rescued.enqueue("key"), tasks.rescued.enqueue("value")
    run(project, near, far)
    assert (near.return_value, far.return_value) == ("Rescue of 1", "RescueAll of 1")


@on_one_database
def test_s61_middleware_is_around_every_end(project):
    options(project, middleware=["tests.seedapp.tasks.outer"], grace=3)
    ends = ("return", "raise", "sleep", "cancel")
    results = {how: tasks.in_middleware.enqueue(how) for how in ends}
    awaited = tasks.in_middleware_async.enqueue()
    run(project, *results.values(), awaited)
    assert results["return"].return_value == "outer(inner(return))"
    assert awaited.return_value == "outer(awaited(inner(coroutine)))"
    assert [job(results[how]).status for how in ends] == ["SUCCESSFUL", "FAILED", "FAILED", "CANCELLED"]
    assert results["sleep"].errors[-1].code == "TASK_TIMEOUT"
    said = {"return": "returned", "raise": "Exception", "sleep": "TaskTimeout", "cancel": "TaskCancelled"}
    for how, word in said.items():
        id = results[how].id
        assert [trace for trace in traces() if id in trace] == [f"{id} {word}", f"{id} after"]


@on_one_database
def test_s62_a_task_may_yield(project):
    steps, only = tasks.step_by_step.enqueue(), tasks.only_yield.enqueue(3)
    unheard, awaited = tasks.yield_unheard.enqueue(), tasks.step_by_step_async.enqueue()
    failing = tasks.fail_between.enqueue()
    run(project, steps, only, unheard, awaited, failing)
    assert steps.return_value == ["answer to one", "answer to two"]
    assert only.return_value == [2, 1, 0]
    assert unheard.return_value == ["hello", "heard None"]
    assert awaited.return_value == ["one", "late answer to one"]
    assert "ValueError: between" in failing.errors[-1].traceback
    assert traces() == [f"handled {value}" for value in ("one", "two", 2, 1, 0, 1)]


def test_s65_the_registry_knows_all_tasks(idle):
    from django.apps import apps

    assert apps.get_app_config("django_tasks_q").registry is registry
    assert registry.get("seed.add") is tasks.add
    assert registry.get("seed.old") is tasks.renamed
    listed = idle.run("tasks").stdout
    for name in ("seed.add", "seed.renamed", "tests.seedapp.tasks.described"):
        assert name in listed


@on_one_database
def test_s66_what_a_task_depends_on_is_opened_and_closed(project):
    good, bad = tasks.use_client.enqueue("return"), tasks.use_client.enqueue("raise")
    shared = [tasks.use_shared.enqueue() for _ in range(2)]
    awaited = tasks.use_async.enqueue("it is")
    run(project, good, bad, *shared, awaited)
    assert good.return_value == ["return", "client", f"session of client for {good.id}"]
    assert "ValueError: in the task" in bad.errors[-1].traceback
    assert [result.return_value for result in shared] == [True, True]
    assert awaited.return_value == "it is opened"
    of_client = [trace for trace in traces() if trace.startswith("client")]
    assert of_client == [
        "client opened",
        "client closed",
        "client opened",
        "client saw in the task",
        "client closed",
    ]
    assert [trace for trace in traces() if trace.startswith("shared")] == ["shared opened", "shared closed"]
    assert tasks.use_client("by hand", client={"name": "fake"}, session="none") == ["by hand", "fake", "none"]
