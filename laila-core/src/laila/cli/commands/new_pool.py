"""Write a new distribution that brings a pool: the project, its tests, and a pool to begin with.

The project works at once, over a dict, and keeps laila's contract. Put your backend in place of the dict,
step by step. Existing files are not overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from laila.cli.scaffold import name_for, say_next, scheme_for, write_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]

GROUP = "laila.pools"
PREFIX = "laila-pool-"


def configure(parser: ArgumentParser) -> None:
    """Add the name, ``--folder`` and ``--scheme``."""
    parser.add_argument(
        "name",
        metavar="NAME",
        type=name_for(GROUP, PREFIX),
        help="what it stores in, in lowercase: NAME gives laila-pool-NAME",
    )
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, default=Path(), help="where to write it; by default here"
    )
    parser.add_argument(
        "--scheme", type=scheme_for(GROUP), help="the scheme of its URLs; by default the name"
    )


def run(options: Namespace) -> int:
    """Write the project, and say what to do next."""
    distribution = f"{PREFIX}{options.name}"
    camel = "".join(part.capitalize() for part in options.name.split("-"))
    target = options.folder / distribution
    written = write_project(
        "pool",
        target,
        {
            "group": GROUP,
            "point": options.scheme or options.name,
            "name": options.name,
            "scheme": options.scheme or options.name,
            "distribution": distribution,
            "package": distribution.replace("-", "_"),
            "prefix": options.name.replace("-", "_"),
            "variables": f"LAILA_{options.name.replace('-', '_').upper()}",
            "pool": f"{camel}Pool",
            "settings": f"{camel}Settings",
        },
    )
    say_next(
        target,
        "a pool over a dict, which keeps laila's contract",
        f"put your backend into src/{distribution.replace('-', '_')}/pool.py",
        written=written,
    )
    return 0
