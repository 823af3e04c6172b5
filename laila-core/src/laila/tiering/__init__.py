"""What all pools do together: chains of tiers, copies between pools, and one tier alone.

:mod:`~laila.tiering.chain` finds a blob along a chain and fills the caches on the way back, files a blob in
each tier, and deletes it. :mod:`~laila.tiering.single` is one tier: the blobs that a single pool holds.
"""
