"""A record is made where a handler would take it, and nowhere else."""

import logging
from unittest import TestCase

import pytest
from django.utils.log import CallbackFilter, RequireDebugFalse, RequireDebugTrue

from django_tasks_q import compat
from django_tasks_q.loggers import is_wanted

from .tasksapp import tasks

pytestmark = pytest.mark.once


@pytest.fixture
def logger():
    """A child of one that ends in no handler, in no tree that the test run adds its own to."""
    parent, child = logging.Logger("parent", logging.INFO), logging.Logger("child")
    parent.addHandler(logging.NullHandler())
    child.parent = parent
    return child


class Kept(logging.Handler):
    def __init__(self, level=logging.NOTSET, *filters):
        super().__init__(level)
        self.records = []
        for each in filters:
            self.addFilter(each)

    def emit(self, record):
        self.records.append(record)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize(
    "handlers",
    [
        (),
        (("child", Kept()),),
        (("parent", Kept()),),
        (("parent", Kept(logging.ERROR)),),
        (("parent", Kept(logging.INFO, RequireDebugTrue())),),
        (("parent", Kept(logging.INFO, RequireDebugFalse())),),
        (("parent", Kept(logging.ERROR)), ("child", Kept(logging.INFO, RequireDebugTrue()))),
        (("parent", Kept(logging.INFO)), ("child", Kept(logging.ERROR))),
    ],
)
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_interest_is_what_the_handlers_would_take(logger, settings, debug, handlers, level):
    settings.DEBUG = debug
    for where, handler in handlers:
        handler.records.clear()
        (logger if where == "child" else logger.parent).addHandler(handler)
    logger.log(level, "x")
    assert is_wanted(logger, level) == any(handler.records for _, handler in handlers)


def test_what_cannot_be_known_counts_as_interest(logger, monkeypatch):
    logger.parent.addHandler(Kept(logging.INFO, CallbackFilter(lambda record: False)))
    assert is_wanted(logger, logging.INFO)
    logger.parent.handlers.clear()
    logger.parent.addHandler(logging.NullHandler())
    assert not is_wanted(logger, logging.INFO)
    with monkeypatch.context() as patch:  # as an error tracker does, to keep what happened before an error
        patch.setattr(logging.Logger, "callHandlers", lambda self, record: None)
        assert is_wanted(logger, logging.INFO)
    assert not is_wanted(logger, logging.INFO)


def test_a_logger_that_does_not_propagate_ends_the_search(logger):
    logger.parent.addHandler(Kept())
    assert is_wanted(logger, logging.INFO)
    logger.propagate = False
    assert not is_wanted(logger, logging.INFO)
    logger.addHandler(logging.NullHandler())
    assert not is_wanted(logger, logging.INFO)


def test_without_any_handler_warnings_go_to_the_last_resort(logger):
    logger.propagate = False
    logger.setLevel("INFO")
    assert is_wanted(logger, logging.WARNING)
    assert not is_wanted(logger, logging.INFO)


@pytest.fixture
def default_logging(settings):
    """Django's own, as production has it: only the console's handler, for DEBUG, and the one for errors."""
    settings.DEBUG = False
    found = compat._signals.logger
    assert found.name in ("django.tasks", "django_tasks")
    before = found.handlers, found.propagate, found.level
    found.setLevel("INFO")

    def use():
        # In the test itself: before it, pytest adds handlers of its own.
        found.handlers, found.propagate = [Kept(logging.INFO, RequireDebugTrue()), Kept(logging.ERROR)], False
        return found

    yield use
    found.handlers, found.propagate, found.level = before


SIGNALS = (compat.task_started, compat.task_finished)


def test_no_signal_of_a_job_is_put_together_for_records_that_nobody_gets(default_logging, settings):
    default_logging()
    assert not any(map(compat.is_observed, SIGNALS))
    settings.DEBUG = True
    assert all(map(compat.is_observed, SIGNALS))


def test_handlers_that_come_later_hear_of_jobs(default_logging):
    found = default_logging()
    assert not compat.is_observed(compat.task_started)
    with TestCase().assertLogs(found, "INFO") as logs:
        assert compat.is_observed(compat.task_started)
        found.info("x")
    assert len(logs.records) == 1
    assert not compat.is_observed(compat.task_started)
    found.addHandler(Kept(logging.INFO))
    assert compat.is_observed(compat.task_started)


@pytest.mark.django_db
def test_caplog_has_what_a_job_logs(caplog, settings):
    settings.DEBUG = False
    from django_tasks_q.testing import run_jobs

    caplog.set_level("INFO", compat._signals.logger.name)
    tasks.noop.enqueue()
    run_jobs()
    assert [record.name for record in caplog.records].count(compat._signals.logger.name) == 2
