"""List the installed plugins, and what is wrong with the unusable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.output import say, show_table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add ``--check``, ``--all`` and ``--json``."""
    parser.add_argument("--check", action="store_true", help="import each plugin to see whether it works")
    parser.add_argument(
        "--all", action="store_true", help="also list laila's own plugins that are not installed"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, for programs")


def run(options: Namespace) -> int:
    """Print one line a plugin. With ``--check``, 1 if any plugin failed."""
    from laila.plugins import report

    rows = report(check=options.check, missing=options.all)
    code = int(options.check and any(row.status == "failed" for row in rows))
    if options.json:
        from json import dumps

        print(dumps([row._asdict() for row in rows], indent=2))
        return code
    show_table(
        ("KIND", "NAME", "SCHEMES", "DISTRIBUTION", "VERSION", "CONTRACT", "STATUS"),
        [
            (
                row.kind,
                row.name,
                " ".join(f"{scheme}://" for scheme in row.schemes),
                row.distribution,
                row.version,
                row.contract or ("-" if row.version else ""),
                row.status,
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.reason:
            say(f"{row.kind} {row.name} of {row.distribution}: {row.reason}")
    if any(row.status == "available" and row.contract is None for row in rows):
        say("CONTRACT is known once a plugin was imported: laila plugins --check imports them all.")
    return code
