"""A short run of a failover; ``make failover`` makes longer ones, also without synchronous replication."""

import pytest

from .failover import Failover

pytestmark = pytest.mark.once


def test_no_acknowledged_job_is_lost_with_a_primary_that_has_a_synchronous_standby(tmp_path):
    report = Failover(tmp_path, synchronous=True, before=1.0, after=1.0).run()
    print(report)
    assert report.problems == []
    assert report.acknowledged > 100
