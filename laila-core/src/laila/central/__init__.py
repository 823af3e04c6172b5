"""The parts of a policy that store and run: central memory, central command, and how a verb does its work.

:mod:`~laila.central.writing` creates blobs that are absent. :mod:`~laila.central.reading` finds them.
Both work on blobs, for callers in this process and for peers.
"""
