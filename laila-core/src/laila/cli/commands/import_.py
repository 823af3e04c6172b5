"""Store what files of other tools hold: arrays, tables, texts, images, weights.

A file with named parts (.npz, .safetensors, .h5, zarr, .pt weights) becomes a manifest, any other an entry. A
folder becomes a manifest of its files, such as labels with their images. Nothing in a file is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool_option, open_to_change, verbs_on
from laila.cli.output import say
from laila.cli.progress import Progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the files, the pool, and the name."""
    parser.add_argument("path", metavar="FILE|FOLDER", nargs="+", help="what is imported")
    add_pool_option(parser)
    parser.add_argument("--name", help="the nickname (default: the name of the file without its suffix)")
    parser.add_argument("--overwrite", action="store_true", help="replace what has the name already")


def run(options: Namespace) -> int:
    """Import each of them and print its id and name."""
    from pathlib import Path

    from laila.errors import InvalidValueError
    from laila.exchange import import_file

    if options.name is not None and len(options.path) > 1:
        raise InvalidValueError("--name is for one file or folder, and there are several")
    with open_to_change(options.pool) as pool, verbs_on(pool) as policy, Progress() as progress:
        for path in options.path:
            name = options.name or Path(path).resolve().stem
            global_id = import_file(
                path,
                policy.central.memory,
                nickname=name,
                overwrite=options.overwrite,
                on_progress=progress.show_files,
            )
            say(f"{global_id}  {name}")
    return 0
