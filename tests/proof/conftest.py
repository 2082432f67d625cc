from collections.abc import Iterator

import pytest

from .audit import audited


@pytest.fixture
def audit(storage_alias: str) -> Iterator[str]:
    """Each database in turn, with its audit."""
    with audited(storage_alias):
        yield storage_alias
