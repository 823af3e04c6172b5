"""Write a new distribution that brings a task force: the project, its tests, and a task force to begin with.

The project works at once, in the submitting thread, and keeps laila's contract. Put your engine in its place,
step by step. Existing files are not overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from laila.cli.scaffold import name_for, say_next, write_project

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]

GROUP = "laila.taskforces"
PREFIX = "laila-taskforce-"


def configure(parser: ArgumentParser) -> None:
    """Add the name and ``--folder``."""
    parser.add_argument(
        "name",
        metavar="NAME",
        type=name_for(GROUP, PREFIX),
        help="what tasks run on, in lowercase: NAME gives laila-taskforce-NAME",
    )
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, default=Path(), help="where to write it; by default here"
    )


def run(options: Namespace) -> int:
    """Write the project, and say what to do next."""
    distribution = f"{PREFIX}{options.name}"
    package = distribution.replace("-", "_")
    camel = "".join(part.capitalize() for part in options.name.split("-"))
    target = options.folder / distribution
    written = write_project(
        "taskforce",
        target,
        {
            "group": GROUP,
            "point": options.name,
            "name": options.name,
            "distribution": distribution,
            "package": package,
            "taskforce": f"{camel}TaskForce",
        },
    )
    say_next(
        target,
        "a task force that runs work in its submitter, and keeps laila's contract",
        f"put your engine into src/{package}/taskforce.py",
        written=written,
    )
    return 0
