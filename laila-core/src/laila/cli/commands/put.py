"""Store a file or a folder in a pool, so that `laila get` gives it back with its modes and times.

A file becomes an entry of its bytes, a folder a manifest of its files. Equal files are stored once. What the
pool has already is not sent again: interrupted, the command goes on where it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.storing import add_storing_options, store_each

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the files and folders, the pool, and the name."""
    add_storing_options(parser, "the last part of the path")


def run(options: Namespace) -> int:
    """Store each of them and print its id and name."""
    from laila.exchange import put_path

    return store_each(options, put_path, lambda path: path.name)
