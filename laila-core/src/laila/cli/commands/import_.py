"""Store what files of other tools hold: arrays, tables, texts, images, weights.

A file with named parts (.npz, .safetensors, .h5, zarr, .pt weights) becomes a manifest, any other an entry. A
folder becomes a manifest of its files, such as labels with their images. Nothing in a file is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.storing import add_storing_options, store_each

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the files and folders, the pool, and the name."""
    add_storing_options(parser, "the name of the file without its suffix")


def run(options: Namespace) -> int:
    """Store each of them and print its id and name."""
    from laila.exchange import import_file

    return store_each(options, import_file, lambda path: path.stem)
