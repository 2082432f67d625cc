"""How much the tests try that draw what they try."""

import os


def examples(number: int) -> int:
    """As many, or the share of them that TEST_EXAMPLES says."""
    return max(1, round(number * float(os.environ.get("TEST_EXAMPLES", "1"))))
