"""The parts that all pools share: chains of tiers, copies between pools, and a single tier.

:mod:`~laila.tiering.chain` finds a blob along a chain, fills the caches on the way back, and stores and
deletes in each tier. :mod:`~laila.tiering.single` is a single tier: the blobs of one pool.
"""
