"""Signals of this package's own, beside the three of the framework."""

from django.dispatch import Signal

#: Somebody did something to jobs, a queue, a worker or a schedule, and it is committed. The sender is the
#: model's class.
#: Receivers are given ``action``, the name of the verb; ``ids``, a list of those it changed something of;
#: ``user``, whom the caller named, or None; ``reason``, text or ""; and ``using``, the alias of the database.
#: What they raise is logged, and harms nobody.
action_performed = Signal()
