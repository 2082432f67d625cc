"""How much the tests try that draw what they try."""

import os


def examples(number: int) -> int:
    """Return the share of them that TEST_EXAMPLES says: a whole run takes minutes and not hours, with 0.4."""
    return max(1, round(number * float(os.environ.get("TEST_EXAMPLES", "0.4"))))
