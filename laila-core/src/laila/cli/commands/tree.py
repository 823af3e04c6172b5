"""Print the tree of a manifest: of each leaf type, shape and bytes. No leaf is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, find_key, open_to_look, verbs_on
from laila.cli.output import clean, print_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.entry.leaves import Leaf

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the manifest, the pool, and how much is printed."""
    parser.add_argument("name", metavar="NAME|ID", help="the nickname or global id of a manifest")
    add_pool_option(parser)
    parser.add_argument("--depth", type=int, metavar="N", help="open N levels (default: all)")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="print N lines, 0 for all")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all leaves by path")


def run(options: Namespace) -> int:
    """Print the tree."""
    from io import StringIO

    from laila.entry import Manifest
    from laila.errors import InvalidValueError
    from laila.showing import shown

    with open_to_look(options.pool) as pool, verbs_on(pool) as policy:
        entry = policy.central.memory.remember(find_key(pool, options.name)).wait()
        if not isinstance(entry, Manifest):
            raise InvalidValueError(f"{shown(options.name)} is no manifest; laila show shows an entry")
        if options.json:
            print_json(
                {
                    "id": entry.global_id,
                    "nickname": entry.nickname,
                    "leaves": {path: leaf and _fields(leaf) for path, leaf in entry.describe().items()},
                }
            )
            return 0
        text = StringIO()
        entry.tree(depth=options.depth, limit=options.limit or None, file=text)
    print("\n".join(map(clean, text.getvalue().splitlines())))
    return 0


def _fields(leaf: Leaf) -> dict[str, object]:
    return {**leaf._asdict(), "digest": leaf.digest.hex()}
