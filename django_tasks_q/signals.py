"""Signals of this package, beside the three of the framework. What receivers raise is logged."""

from django.dispatch import Signal

#: A user changed jobs, a queue, a worker or a schedule, and the change is committed. The sender is
#: the class of the model.
#: Receivers are given ``action``, the name of the verb; ``ids``, a list of those that it changed;
#: ``user``, whom the caller named, or None; ``reason``, text or ""; and ``using``, the alias of the database.
#: What they raise is logged, and has no other effect.
action_performed = Signal()

#: An attempt has failed and the job will be run again. Sent after that is stored, like ``task_finished``:
#: with the class of the backend as sender, ``task_result``, and ``exception``, which is None where only the
#: stored text is left.
task_retrying = Signal()

#: A job has ended as cancelled. Sent with ``task_finished``, with the same arguments.
task_cancelled = Signal()

#: An attempt was lost with its process or its worker. Sent after that is stored, in a child process, with the
#: class of the backend as sender and ``task_result``.
task_lost = Signal()

#: A child process has started, and has no job yet. Sent in that process, with the class of its executor as
#: sender. Receivers are given ``executor``, the instance; ``backend``, the alias; and ``worker_id``.
child_started = Signal()

#: A child process ends in an orderly way. Sent in that process, with the arguments of ``child_started``.
child_stopping = Signal()

#: ``runworker`` is about to start a worker. Sent in the process that called it, before any other process of
#: the worker is forked, with the class of the backend as sender. Receivers are given ``name``, that of the
#: worker, and ``backend``, the alias.
worker_started = Signal()

#: A worker has ended, and so have its children. Sent in the process that called ``runworker``, with the
#: arguments of ``worker_started``.
worker_stopped = Signal()
