"""Move a pool's entries, or what is named in it, to another pool: copy, verify, then delete.

A manifest is moved with its leaves. What could not be copied stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.commands.cp import copy_named
from laila.cli.commands.rm import delete_named
from laila.cli.opening import goes_on, open_to_change, verbs_on
from laila.cli.output import count_text, say
from laila.cli.progress import Progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the two pools and the names."""
    parser.add_argument("source", metavar="SRC_URL", help="the pool to move from, such as file:runs")
    parser.add_argument("dest", metavar="DST_URL", help="the pool to move into, such as s3://bucket/runs")
    parser.add_argument(
        "name", metavar="NAME|ID", nargs="*", help="what is moved (default: everything that the pool holds)"
    )
    goes_on(parser)


def run(options: Namespace) -> int:
    """Copy, delete what was copied, and name what could not be; 1 if there is any."""
    from laila.errors import InvalidValueError

    with open_to_change(options.source) as source, open_to_change(options.dest) as dest:
        if (type(source), source.options()) == (type(dest), dest.options()):
            raise InvalidValueError("the two pools are one: nothing was moved")
        with verbs_on(dest), Progress("entries") as progress:
            copied, failed = copy_named(source, dest, options.name, progress)
        if failed:
            say(f"{count_text(failed)} could not be copied: nothing was deleted")
            return 1
        if options.name:
            with verbs_on(source) as policy:
                delete_named(source, policy.central.memory, options.name)
        else:
            source.delete(copied)
    say(f"{count_text(len(copied))} moved")
    return 0
