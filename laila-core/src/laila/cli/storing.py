"""What `laila put` and `laila import` share: options, and a call for each file or folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, goes_on, open_to_change, verbs_on
from laila.cli.output import say
from laila.cli.progress import Progress
from laila.showing import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

__all__ = ["add_storing_options", "store_each"]


def add_storing_options(parser: ArgumentParser, name: str) -> None:
    """Add the files and folders, the pool and the name; ``name`` says what the name is by default."""
    parser.add_argument("path", metavar="FILE|FOLDER", nargs="+", help="what is stored")
    add_pool_option(parser)
    goes_on(parser)
    parser.add_argument("--name", help=f"the nickname (default: {name})")
    parser.add_argument("--overwrite", action="store_true", help="replace what has the name already")


def store_each(options: Namespace, store: Callable[..., str], name_of: Callable[[Path], str]) -> int:
    """Store each path, and print its id and name.

    Args:
        options: The options of the command line.
        store: Stores one path: ``put_path`` or ``import_file``.
        name_of: The nickname of a path by default.
    """
    from laila.errors import ImmutableEntryError, InvalidValueError

    if options.name is not None and len(options.path) > 1:
        raise InvalidValueError("--name is for one file or folder, and there are several")
    with open_to_change(options.pool) as pool, verbs_on(pool) as policy, Progress() as progress:
        if progress.is_shown:
            progress.total_bytes = sum(map(_bytes_below, options.path))
        for path in options.path:
            name = options.name or name_of(Path(path).resolve())
            try:
                global_id = store(
                    path,
                    policy.central.memory,
                    nickname=name,
                    overwrite=options.overwrite,
                    on_progress=progress.show_done,
                )
            except ImmutableEntryError as error:
                raise ImmutableEntryError(
                    f"the pool has other content under the name {shown(name)}, which was kept: --overwrite "
                    "replaces it, --name gives another name",
                    key=error.key,
                    pool=error.pool,
                ) from error
            progress.clear()
            say(f"{global_id}  {name}")
    return 0


def _bytes_below(path: str) -> int:
    """How many bytes a file has, or the files of a folder; what cannot be looked at counts nothing."""
    root = Path(path)
    files = [root] if root.is_file() else (file for file in root.rglob("*") if not file.is_symlink())
    total = 0
    for file in files:
        with suppress(OSError):
            if file.is_file():
                total += file.stat().st_size
    return total
