"""How large an entry may become when its transformations are undone.

A few hundred bytes can say that they unfold to a gigabyte, and compressed zeros really do. So what comes out
is bounded before it is made: by what is stored, by ``LAILA_MAX_ENTRY_BYTES`` (or
``laila.args.max_entry_bytes``), and by the memory that this process can have at all, that of its container
included.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache

from laila.settings import Settings, option

__all__ = ["EntrySettings", "most_from", "most_of_an_entry"]

_ALWAYS = 16 * 2**20
_A_BYTE = 32 * 1024  # zstd makes as many of one, zlib 1,032


class EntrySettings(Settings):
    """What entries may be."""

    max_entry_bytes: int | None = option(
        default=None,
        printed=True,
        shown="the memory of the machine or container",
        help="the most that an entry may become when it is decompressed or decrypted; a larger one is "
        "refused",
    )


def most_of_an_entry() -> int:
    """Return the most bytes that undoing a transformation may give."""
    most = EntrySettings.resolve().max_entry_bytes
    return memory() if most is None else min(most, memory())


def most_from(stored: int) -> int:
    """Return the most bytes that ``stored`` bytes may become, all transformations undone.

    It is what the strongest of them makes of as many, however many there are: compressed twice, a few hundred
    bytes would unfold to a gigabyte.
    """
    return max(_ALWAYS, _A_BYTE * stored)


@cache
def memory() -> int:
    """Return the bytes of memory that this process could have at most: the machine's, or its container's."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = 1 << 62  # a system that does not tell
    # Version 2 of control groups, as this process sees its own; then the same of version 1.
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", *_own_groups()):
        with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found = min(found, int(file.read()))  # "max" is no number, and no limit
    return found


def _own_groups() -> list[str]:
    """The files that say the limits of this process's control group, and of those around it."""
    found: list[str] = []
    with suppress(OSError, ValueError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            number, controllers, path = line.strip().split(":", 2)
            group = "/sys/fs/cgroup" if number == "0" else "/sys/fs/cgroup/memory"
            if number != "0" and "memory" not in controllers.split(","):
                continue
            name = "memory.max" if number == "0" else "memory.limit_in_bytes"
            for part in path.strip("/").split("/"):
                group = f"{group}/{part}"
                found.append(f"{group}/{name}")
    return found
