"""Write an entry or a manifest to a file that others read without laila.

The kind is what --as says, or the suffix of DEST: npz, safetensors, hdf5, zarr, parquet, csv, json; a path
without a suffix becomes a folder with a file for each leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, leaves_nothing, open_to_look, verbs_on
from laila.cli.output import say
from laila.cli.progress import Progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the name, the destination, the kind and the pool."""
    parser.add_argument("name", metavar="NAME|ID", help="a nickname or a global id")
    parser.add_argument("dest", metavar="DEST", help="the new file or folder")
    parser.add_argument("--as", dest="kind", metavar="KIND", help="such as npz or folder")
    add_pool_option(parser)
    leaves_nothing(parser)


def run(options: Namespace) -> int:
    """Write it and print the path."""
    from laila.exchange import export

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.show_done(done, 0)

    with open_to_look(options.pool) as pool, verbs_on(pool) as policy, Progress("leaves") as progress:
        path = export(options.name, options.dest, options.kind, policy.central.memory, on_progress=show)
    say(str(path))
    return 0
