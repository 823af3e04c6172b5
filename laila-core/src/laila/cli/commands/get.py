"""Write a stored file or folder to a new file or folder, with its modes and times.

DEST is the new path, or a folder that is there, in which the name of the file or folder is used. Nothing is
replaced, and nothing is there under the name until all of it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, find_key, is_manifest, leaves_nothing, open_to_look, verbs_on
from laila.cli.output import clean, count_text, say, size_text
from laila.cli.progress import Progress
from laila.errors import LailaError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.policy import DefaultPolicy

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the name, the destination and the pool."""
    parser.add_argument("name", metavar="NAME|ID", help="a nickname or a global id")
    parser.add_argument("dest", metavar="DEST", nargs="?", help="where to (default: the current folder)")
    add_pool_option(parser)
    leaves_nothing(parser)


def run(options: Namespace) -> int:
    """Write the file or folder; 1 where a link in it was left out."""
    from laila.exchange import get_path

    with open_to_look(options.pool) as pool, verbs_on(pool) as policy, Progress() as progress:
        if progress.is_shown:
            progress.total_bytes = _size_of(find_key(pool, options.name), policy)
        written = get_path(options.name, options.dest, policy.central.memory, on_progress=progress.show_done)
    say(f"{written.path}  {count_text(written.files, 'file', 'files')}, {size_text(written.nbytes)}")
    for link in written.left_out:
        print(f"laila: left out the link {clean(link)}: it leads out of the folder", file=sys.stderr)
    return int(bool(written.left_out))


def _size_of(key: str, policy: DefaultPolicy) -> int | None:
    """The bytes of what is written, None where nobody knows without reading it."""
    from laila.entry import Manifest

    if not is_manifest(key):
        return None
    try:
        entry = policy.central.memory.remember(key).wait()
        return entry.nbytes if isinstance(entry, Manifest) else None
    except LailaError:
        return None
