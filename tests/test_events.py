"""The dispatcher of a worker's events."""

import uuid

import pytest

from django_tasks_q.events import Events, JobsExpired, JobsRescued, LeaseLost, OrphansReleased
from django_tasks_q.lifecycle.states import JobStatus

pytestmark = pytest.mark.once


def test_subscribers_are_called_in_their_order_with_events_of_their_kind():
    events, calls = Events(), []
    events.subscribe(JobsExpired, lambda event: calls.append(("first", event)))
    events.subscribe(JobsRescued, lambda event: calls.append(("other", event)))
    events.subscribe(JobsExpired, lambda event: calls.append(("second", event)))
    event = JobsExpired([uuid.uuid4()])
    events.publish(event)
    assert calls == [("first", event), ("second", event)]


@pytest.mark.parametrize("kind", [JobsRescued, OrphansReleased])
def test_events_of_several_states_name_the_jobs_that_have_ended(kind):
    again, ended = uuid.uuid4(), uuid.uuid4()
    assert kind({again: JobStatus.READY, ended: JobStatus.CANCELLED}).ended == [ended]


def test_an_event_without_subscribers_is_dropped():
    Events().publish(LeaseLost(uuid.uuid4()))


def test_the_error_of_a_subscriber_is_the_publishers():
    events = Events()
    events.subscribe(LeaseLost, lambda event: event.no_such_field)
    with pytest.raises(AttributeError, match="no_such_field"):
        events.publish(LeaseLost(uuid.uuid4()))
