"""Waiting for file descriptors."""

import os
import resource
import socket
import time

import pytest

from django_tasks_q.polling import readable

pytestmark = pytest.mark.once


@pytest.fixture
def ends():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_what_can_be_read_is_returned_at_once_and_nothing_after_the_time(ends):
    ours, theirs = ends
    began = time.monotonic()
    assert readable([ours], 0.02) == []
    assert time.monotonic() - began >= 0.02
    theirs.send(b".")
    assert readable([ours, theirs], 30.0) == [ours]
    theirs.close()
    assert readable([ours], 30.0) == [ours]  # the end can be read, too


def test_numbers_above_those_of_select_are_waited_for(ends):
    """As in a server that has more than a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = 1500
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 1), hard))
    os.dup2(ends[0].fileno(), number)
    try:
        with socket.socket(fileno=number) as high:
            ends[1].send(b".")
            assert readable([high], 30.0) == [high]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
