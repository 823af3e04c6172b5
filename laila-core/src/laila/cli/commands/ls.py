"""List what a pool holds: names first, with totals. Payloads are not read.

PATTERN is a nickname or key, with *, ? and [...] for what may differ. Without --pool, the variable LAILA_POOL
names the pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, open_to_look
from laila.cli.output import count_text, print_json, say, show_table, size_text, time_text
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.tiering.listing import Listed

__all__ = ["configure", "listed_fields", "print_listed", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pattern, the pool, and what is searched for."""
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", help="such as 'run-*'")
    add_pool_option(parser)
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="a condition on the metadata, such as 'lr>0.1'; several have all to hold",
    )
    parser.add_argument("--named", action="store_true", help="leave out entries without a nickname")
    parser.add_argument(
        "--sort", choices=("name", "bytes", "created"), default="name", help="the order (default: name)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each entry")


def run(options: Namespace) -> int:
    """Print the entries and their totals; 1 if the head of one is damaged."""
    from laila.tiering.listing import SORTS, list_pool

    with open_to_look(options.pool) as pool:
        every = list_pool(pool, options.pattern, where=options.where, named=options.named)
        listed = sorted(every, key=SORTS[options.sort])
    if options.json:
        for entry in listed:
            print_listed(entry)
    else:
        if listed:
            show_table(("NAME", "KIND", "TYPE", "SIZE", "CREATED"), map(_row, listed))
        say(f"{count_text(len(listed))}, {size_text(sum(entry.nbytes for entry in listed))} stored")
    return int(any(entry.error is not None for entry in listed))


def _row(entry: Listed) -> tuple[object, ...]:
    if entry.error is not None:
        return (entry.name, "damaged", said(entry.error), "", "")
    kind = " + ".join(entry.transformations) or entry.type  # a transformation hides the type
    return (entry.name, entry.kind, kind, size_text(entry.nbytes), time_text(entry.created))


def print_listed(entry: Listed) -> None:
    """Print what is known of an entry as one JSON object on a line."""
    print_json(listed_fields(entry))


def listed_fields(entry: Listed) -> dict[str, object]:
    """What is known of an entry, for JSON."""
    return {
        "key": entry.key,
        "nickname": entry.nickname,
        "kind": entry.kind,
        "type": entry.type,
        "nbytes": entry.nbytes,
        "created": entry.created,
        "metadata": dict(entry.metadata),
        "transformations": list(entry.transformations),
        "error": None if entry.error is None else said(entry.error),
    }
