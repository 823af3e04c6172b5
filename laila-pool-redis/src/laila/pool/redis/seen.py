"""Which names have been seen: in about 15 bytes a name, where a set of them takes 130.

SCAN may give a name twice, when the server's table shrinks meanwhile, and a listing gives each once. Of a
name only 78 bits of its hash are kept. Two names that have them in common would be taken for one: among a
million names that happens once in 10**12 listings, and nobody can choose such names, as each listing has a
seed of its own.
"""

from __future__ import annotations

import os
from collections import defaultdict

from xxhash import xxh3_128_digest

__all__ = ["Seen"]

_BUCKETS = 1 << 14  # about 60 names are in each of them when there are a million
_MARK_BYTES = 8


class Seen:
    """A set of names that are not kept. Used by one thread."""

    def __init__(self) -> None:
        self._seed = int.from_bytes(os.urandom(8), "little")
        # Each bucket is one mark after the other: to search bytes is quick.
        self._buckets: defaultdict[int, bytearray] = defaultdict(bytearray)

    def add(self, name: bytes) -> bool:
        """Note ``name``; whether it is new."""
        digest = xxh3_128_digest(name, self._seed)
        bucket = self._buckets[int.from_bytes(digest[:2], "little") % _BUCKETS]
        mark = digest[-_MARK_BYTES:]
        at = bucket.find(mark)
        while at >= 0:
            if at % _MARK_BYTES == 0:
                return False
            at = bucket.find(mark, at + 1)  # that was the end of one mark and the beginning of another
        bucket += mark
        return True
