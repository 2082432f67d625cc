"""Sees to it that the tests which the documentation names have run, and not only are there."""

import os

import pytest

from .test_docs import code
from .test_seed_table import TABLE


class Ran:
    """Which tests have passed in a run of the whole suite."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid.partition("[")[0])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and is_whole(self.config):
            missing = sorted({proof for row in TABLE for proof in code(row[3])} - self.passed)
            if missing:
                print("\nNamed as proofs, and not run:", *missing, sep="\n  ")
                session.exitstatus = pytest.ExitCode.TESTS_FAILED


def is_whole(config: pytest.Config) -> bool:
    """Whether a run was asked for everything, on every database."""
    # The last one is there only with pytest's cache.
    chosen = config.option.keyword or config.option.markexpr or getattr(config.option, "lf", False)
    return config.args == ["tests"] and not chosen and "TEST_DATABASES" not in os.environ
