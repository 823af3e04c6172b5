"""List the stored evolutions of a variable, with their sizes and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, find_key, open_to_look
from laila.cli.output import say, show_table, size_text, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the variable and the pool."""
    parser.add_argument("name", metavar="NAME|ID", help="the nickname or global id of a variable")
    add_pool_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object for each evolution")


def run(options: Namespace) -> int:
    """Print the evolutions, ascending."""
    import json

    from laila.identity import stem

    with open_to_look(options.pool) as pool:
        of = stem(find_key(pool, options.name))
        heads = [(number, pool.read_head(f"{of}-{number}")) for number in pool.history_here(of)]
    rows = [(number, head.nbytes, head.metadata.get("created")) for number, head in heads if head is not None]
    if options.json:
        for number, nbytes, created in rows:
            print(json.dumps({"evolution": number, "nbytes": nbytes, "created": created}))
    elif rows:
        show_table(
            ("EVOLUTION", "SIZE", "CREATED"),
            [(number, size_text(nbytes), time_text(created)) for number, nbytes, created in rows],
        )
    else:
        say("a constant: it has no evolutions")
    return 0
