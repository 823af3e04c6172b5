"""Compare two manifests by the digests of their leaves: what changes from the first to the second.

No leaf is read. The exit code is 0 where there is no difference, 1 where there is one, and 2 where they could
not be compared.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, find_key, open_to_look, verbs_on
from laila.cli.output import clean, say
from laila.showing import said, shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the two manifests and the pool."""
    parser.add_argument("before", metavar="A", help="the nickname or global id of a manifest")
    parser.add_argument("after", metavar="B", help="the nickname or global id of another one")
    add_pool_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Print the paths that were added, removed and changed; return 0, 1 or 2."""
    from laila.entry import Manifest
    from laila.errors import InvalidValueError, LailaError

    try:
        with open_to_look(options.pool) as pool, verbs_on(pool) as policy:
            names = (options.before, options.after)
            entries = policy.central.memory.remember([find_key(pool, name) for name in names]).wait()
            for name, entry in zip(names, entries, strict=True):
                if not isinstance(entry, Manifest):
                    raise InvalidValueError(f"{shown(name)} is no manifest")
            difference = entries[0].diff(entries[1])
    except (LailaError, OSError) as error:
        if options.traceback:
            raise
        print(f"laila: {clean(said(error))}", file=sys.stderr)
        return 2
    kinds = {"added": difference.added, "removed": difference.removed, "changed": difference.changed}
    if options.json:
        import json

        print(json.dumps({kind: list(paths) for kind, paths in kinds.items()}))
    else:
        for kind, paths in kinds.items():
            for path in paths:
                say(f"{kind:<8} {path}")
    return int(bool(difference))
