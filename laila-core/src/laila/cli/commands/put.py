"""Store a file or a folder in a pool, so that `laila get` gives it back with its modes and times.

A file becomes an entry of its bytes, a folder a manifest of its files. Equal files are stored once. What the
pool has already is not sent again: interrupted, the command goes on where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, open_to_change, verbs_on
from laila.cli.output import say
from laila.cli.progress import Progress
from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the files and folders, the pool, and the name."""
    parser.add_argument("path", metavar="FILE|FOLDER", nargs="+", help="what is stored")
    add_pool_option(parser)
    parser.add_argument("--name", help="the nickname (default: the last part of the path)")
    parser.add_argument("--overwrite", action="store_true", help="replace what has the name already")


def run(options: Namespace) -> int:
    """Store each of them and print its id and name."""
    from pathlib import Path

    from laila.errors import ImmutableEntryError, InvalidValueError
    from laila.exchange import put_path

    if options.name is not None and len(options.path) > 1:
        raise InvalidValueError("--name is for one file or folder, and there are several")
    with open_to_change(options.pool) as pool, verbs_on(pool) as policy, Progress() as progress:
        for path in options.path:
            name = options.name or Path(path).resolve().name
            try:
                global_id = put_path(
                    path,
                    policy.central.memory,
                    nickname=name,
                    overwrite=options.overwrite,
                    on_progress=progress.show_files,
                )
            except ImmutableEntryError as error:
                raise ImmutableEntryError(
                    f"the pool has other content under the name {shown(name)}, which was kept: --overwrite "
                    "replaces it, --name gives another name",
                    key=error.key,
                    pool=error.pool,
                ) from error
            say(f"{global_id}  {name}")
    return 0
