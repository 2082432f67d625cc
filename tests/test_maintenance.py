"""The loop over the table of maintenance."""

import uuid
from types import SimpleNamespace

import pytest

from django_tasks_q.maintenance import loop
from django_tasks_q.maintenance.table import TABLE, Entry, MaintenanceReport

from .tasksapp import tasks

pytestmark = pytest.mark.once

ONE, TWO = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def maintained(monkeypatch, clock):
    """A function that makes a loop over other entries. They take what they return from its second value."""

    def make(**entries):
        runs, reports = [], {}

        def function(name):
            def run(context):
                runs.append(name)
                report = reports.get(name, MaintenanceReport())
                if isinstance(report, Exception):
                    raise report
                return report

            return run

        declare = Entry("declare", 1e6, lambda context: MaintenanceReport())
        table = [Entry(name, function=function(name), jitter=0.0, **entries[name]) for name in entries]
        monkeypatch.setattr(loop, "TABLE", (declare, *table))
        made = loop.Maintenance(None, tasks.noop.get_backend(), [])

        def perform(idle=False):
            runs.clear()
            return made.perform(ONE, (), idle=idle), list(runs)

        return made, reports, perform

    return make


def test_entries_run_at_their_intervals_in_the_order_of_the_table(maintained, clock):
    made, _, perform = maintained(often={"interval": 10.0}, rarely={"interval": 30.0, "at_start": False})
    assert perform()[1] == ["often"]
    assert perform()[1] == []
    assert made.seconds_to_next == 10.0
    clock.now += 30
    assert perform()[1] == ["often", "rarely"]


def test_an_entry_that_fails_is_tried_again_and_keeps_no_other_back(maintained, clock):
    made, reports, perform = maintained(
        first={"interval": 60.0}, second={"interval": 60.0, "retry": 1.0}, third={"interval": 60.0}
    )
    reports["first"] = MaintenanceReport(ready=2, expired=[ONE])
    reports["second"] = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        perform()
    reports["first"], reports["second"] = MaintenanceReport(), MaintenanceReport(ready=1)
    report, runs = perform()
    assert runs == ["third"]
    assert (report.ready, report.expired) == (2, (ONE,))  # of the round that failed
    assert made.seconds_to("second") == 1.0
    clock.now += 1
    assert perform() == (MaintenanceReport(ready=1), ["second"])


def test_a_report_may_say_when_to_run_again_and_what_else_is_due(maintained, clock):
    made, reports, perform = maintained(one={"interval": 60.0}, other={"interval": 60.0})
    perform()
    clock.now += 60
    reports["one"] = MaintenanceReport(next_in=0.5, triggers=("other",))
    assert perform()[1] == ["one", "other"]
    clock.now += 0.5
    assert perform()[1] == ["one", "other"]
    reports["one"] = MaintenanceReport(next_in=3600.0)
    made.run_soon("one")
    assert perform()[1] == ["one"]
    assert made.seconds_to("one") == 3600.0


def test_some_entries_run_whenever_the_worker_is_idle(maintained):
    _, _, perform = maintained(always={"interval": 60.0, "when_idle": True}, other={"interval": 60.0})
    perform()
    assert perform(idle=True)[1] == ["always"]


def test_intervals_are_shorter_where_the_lease_is(maintained, settings):
    options = settings.TASKS["default"].get("OPTIONS", {}) | {"LEASE": 8}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    made, _, perform = maintained(rescue={"interval": 15.0, "leases": 1 / 4})
    perform()
    assert made.seconds_to("rescue") == 2.0


def test_each_worker_declares_its_schedules(maintained):
    made, _, perform = maintained()
    perform()
    assert made.seconds_to("declare") > 100
    declared = []
    made._table[0] = made._table[0]._replace(
        function=lambda context: declared.append(1) or MaintenanceReport()
    )
    made.perform(TWO, (), idle=False)
    made.perform(TWO, (), idle=False)
    assert declared == [1]


def test_names_in_the_table_are_unique():
    assert len({entry.name for entry in TABLE}) == len(TABLE)
