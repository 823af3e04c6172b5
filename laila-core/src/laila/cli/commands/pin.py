"""Keep something whatever a policy says; list pins, or take them away.

A pin is stored in the pool. Without a name, the pins are listed. The exit code is 0, 1 where the pool has
nothing of the name, and 2 where the pool could not be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_change, open_to_look
from laila.cli.output import fail, print_json, say, show_table, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool, and what is pinned."""
    add_pool(parser, then="name")
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a nickname or an id; without it, list the pins"
    )
    parser.add_argument(
        "--evolution", type=int, metavar="N", help="one evolution of a variable (default: all of them)"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people")
    parser.add_argument("--remove", action="store_true", help="take the pin away")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Pin, list or remove, and return 0, 1 or 2."""
    from laila.errors import EntryNotFoundError, LailaError
    from laila.upkeep.pins import list_pins, pin_in, unpin_in

    try:
        if options.name is None:
            with open_to_look(options.pool) as pool:
                pins = list_pins(pool)
            if options.json:
                print_json({"pins": [pin._asdict() for pin in pins]})
            elif pins:
                rows = [(pin.name, pin.key, time_text(pin.time), pin.reason) for pin in pins]
                show_table(("NAME", "ID", "SINCE", "REASON"), rows)
            return 0
        with open_to_change(options.pool) as pool:
            if options.remove:
                done, word = unpin_in(pool, options.name, evolution=options.evolution), "unpinned"
            else:
                done = pin_in(pool, options.name, evolution=options.evolution, reason=options.reason)
                word = "pinned"
    except EntryNotFoundError as error:
        return fail(error, 1, traceback=options.traceback)
    except (LailaError, OSError) as error:
        return fail(error, 2, traceback=options.traceback)
    if options.json:
        print_json({word: done})
    else:
        for key in done:
            say(f"{word}  {key}")
        if not done:
            say("nothing was pinned under this name")
    return 0 if done else 1
