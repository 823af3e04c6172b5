"""Policies of other processes: the proxy that stands for a peer, and the methods that a policy serves.

The side that calls is :mod:`~laila.peering.proxy`, with its :mod:`~laila.peering.memory` and
:mod:`~laila.peering.command`. The side that answers is :mod:`~laila.peering.methods`, the table of what peers
may call, and :mod:`~laila.peering.server`.
"""
