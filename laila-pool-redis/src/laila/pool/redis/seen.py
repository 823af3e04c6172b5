"""A set of names that have been seen: about 15 bytes a name, where a Python set takes 130.

SCAN may give a name twice, when the server's table shrinks meanwhile, but a listing gives each name once. The
set keeps only 78 bits of a hash of each name. Two names with equal bits would count as one: among a million
names that happens once in 10**12 listings. Nobody can choose such names, as each listing has a seed of its
own.
"""

from __future__ import annotations

import os
from collections import defaultdict

from xxhash import xxh3_128_digest

__all__ = ["Seen"]

_BUCKETS = 1 << 14  # each holds about 60 of a million names
_MARK_BYTES = 8


class Seen:
    """A set that keeps a hash of each name, not the name. Used by one thread."""

    def __init__(self) -> None:
        self._seed = int.from_bytes(os.urandom(8), "little")
        # Each bucket is one mark after the other: searching bytes is quick.
        self._buckets: defaultdict[int, bytearray] = defaultdict(bytearray)

    def add(self, name: bytes) -> bool:
        """Add ``name``; return whether it is new."""
        digest = xxh3_128_digest(name, self._seed)
        bucket = self._buckets[int.from_bytes(digest[:2], "little") % _BUCKETS]
        mark = digest[-_MARK_BYTES:]
        at = bucket.find(mark)
        while at >= 0:
            if at % _MARK_BYTES == 0:
                return False
            at = bucket.find(mark, at + 1)  # the match was the end of one mark and the beginning of another
        bucket += mark
        return True
