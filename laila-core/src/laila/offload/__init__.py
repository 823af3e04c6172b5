"""Tasks in other processes: the task forces that send them, and the ticket that takes a policy to a worker.

A :class:`~laila.offload.taskforce.RemoteTaskForce` sends a task with a ticket (:mod:`~laila.offload.ticket`).
The worker (:mod:`~laila.offload.worker`) builds a policy from the ticket, and reaches the submitter's pools
as a peer (:mod:`~laila.offload.home`).
"""
