"""Pieces: a buffer above 1 MiB has a checksum for each MiB, so that a part of it can be verified alone.

The checksums of its pieces, joined, are in the header, under the checksum of the head; the hash of these is
the buffer's. A smaller buffer is one piece, and has its checksum alone.
"""

from __future__ import annotations

from xxhash import xxh3_128_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DIGEST_BYTES", "PIECE", "checksum_of", "count_of", "covering", "first_damaged", "sums_of"]

PIECE = 1 << 20
"""The bytes of a piece; the last one of a buffer may have fewer."""
DIGEST_BYTES = 16


def count_of(nbytes: int) -> int:
    """How many pieces a buffer of ``nbytes`` has."""
    return max(1, -(-nbytes // PIECE))


def sums_of(data: memoryview) -> bytes:
    """The checksums of the pieces of a buffer's bytes, joined."""
    if data.nbytes <= PIECE:
        return xxh3_128_digest(data)
    return b"".join([xxh3_128_digest(data[at : at + PIECE]) for at in range(0, data.nbytes, PIECE)])


def checksum_of(sums: bytes) -> bytes:
    """The checksum of a buffer whose pieces have these."""
    return sums if len(sums) == DIGEST_BYTES else xxh3_128_digest(sums)


def first_damaged(sums: bytes, found: bytes) -> int:
    """Return the number of the first piece with a wrong checksum; -1 if all are right."""
    if sums == found:
        return -1
    pairs = range(0, max(len(sums), len(found)), DIGEST_BYTES)
    return next(at // DIGEST_BYTES for at in pairs if sums[at : at + 16] != found[at : at + 16])


def covering(ranges: Sequence[tuple[int, int]], nbytes: int) -> list[tuple[int, int]]:
    """The runs of whole pieces that cover some ranges of a buffer of ``nbytes``, ascending, none twice.

    Args:
        ranges: Pairs of first byte and the one after the last, in any order.
        nbytes: The bytes of the buffer.

    Returns:
        Pairs likewise, each from the beginning of a piece to the end of one; runs that touch are one.
    """
    runs: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        low, high = start - start % PIECE, min(-(-stop // PIECE) * PIECE, nbytes)
        if runs and low <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(high, runs[-1][1]))
        else:
            runs.append((low, high))
    return runs
