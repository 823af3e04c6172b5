"""Give back the room of deleted entries that a pool's file still takes.

Pools that give it back at once have nothing to do. The exit code is 0, and 2 where the pool could not be
compacted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_change
from laila.cli.output import fail, print_json, say, size_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool."""
    add_pool(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Compact the pool, and return 0 or 2."""
    from laila.errors import LailaError
    from laila.upkeep.compacting import compact_pool

    try:
        with open_to_change(options.pool) as pool:
            freed = compact_pool(pool)
            label = pool.label
    except (LailaError, OSError) as error:
        return fail(error, 2, traceback=options.traceback)
    if options.json:
        print_json({"pool": label, "freed": freed})
    elif freed is None:
        say("nothing to do: this pool gives the room of deleted entries back at once")
    else:
        say(f"{size_text(freed)} given back")
    return 0
