"""MySQL and MariaDB: through the ORM, with the driver's own limits on silence."""

from __future__ import annotations

import math

from .base import Storage


class MySQLStorage(Storage):
    def prepare_worker(self, seconds: float) -> None:
        # The driver waits in C, and goes on waiting after a signal.
        options = self.connection.settings_dict["OPTIONS"]
        for limit in ("connect_timeout", "read_timeout", "write_timeout"):
            options.setdefault(limit, max(1, math.ceil(seconds)))
