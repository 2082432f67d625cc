"""Signals of this package's own, beside the three of the framework."""

from django.dispatch import Signal

#: A user changed jobs, a queue, a worker or a schedule, and the change is committed. The sender is
#: the class of the model.
#: Receivers are given ``action``, the name of the verb; ``ids``, a list of those that it changed;
#: ``user``, whom the caller named, or None; ``reason``, text or ""; and ``using``, the alias of the database.
#: What they raise is logged, and has no other effect.
action_performed = Signal()
