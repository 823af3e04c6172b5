"""The largest size that an entry may have when its transformations are undone.

A few hundred bytes can claim that they unfold to a gigabyte, and compressed zeros really do. So the size is
bounded before anything is made: by the stored size, by ``LAILA_MAX_ENTRY_BYTES`` (or
``laila.args.max_entry_bytes``), and by the memory of this process, or of its container.
"""

from __future__ import annotations

from laila.blob.allocation import memory_limit
from laila.settings import Settings, option

__all__ = ["EntrySettings", "most_from", "most_of_an_entry"]

_ALWAYS = 16 * 2**20
_A_BYTE = 32 * 1024  # zstd makes so many bytes from one byte, zlib 1,032


class EntrySettings(Settings):
    """The limits for entries."""

    max_entry_bytes: int | None = option(
        default=None,
        printed=True,
        shown="the memory of the machine or container",
        help="the most bytes of a decompressed or decrypted entry; a larger one is refused",
    )


def most_of_an_entry() -> int:
    """Return the most bytes that undoing a transformation may give."""
    most = EntrySettings.resolve().max_entry_bytes
    return memory_limit() if most is None else min(most, memory_limit())


def most_from(stored: int) -> int:
    """Return the most bytes that ``stored`` bytes may become, all transformations undone.

    It is what the strongest of them makes of as many, however many there are: compressed twice, a few hundred
    bytes would unfold to a gigabyte.
    """
    return max(_ALWAYS, _A_BYTE * stored)
