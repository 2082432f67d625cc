"""Context variables of one attempt: what it sets is there for its receivers, and for no other job."""

from __future__ import annotations

import decimal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def isolated() -> AbstractContextManager[Any]:
    """Within the block, give the attempt copies of mutable values that context variables hold.

    Each attempt runs in a copy of the context, which keeps the variables themselves apart. The copy shares
    the objects that they hold: the arithmetic of ``decimal``, and the scope of Sentry where that is in use.
    """
    decimal.setcontext(decimal.getcontext().copy())
    if "sentry_sdk" in sys.modules and (scope := getattr(sys.modules["sentry_sdk"], "isolation_scope", None)):
        own: AbstractContextManager[Any] = scope()
        return own
    return _NOTHING


_NOTHING = nullcontext()
