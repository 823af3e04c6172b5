"""Encrypt the entries of a pool again, under the newest key. After an interrupt, run it again to go on.

Entries that are not encrypted, or have the newest key, are left alone. Others may read the pool and store new
entries meanwhile, but must not delete or overwrite. The exit code is 0 where every encrypted entry has the
newest key, and 1 where one was left under an older one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, goes_on, open_to_change
from laila.cli.output import count_text, print_json, say
from laila.cli.progress import Progress
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool."""
    add_pool(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    goes_on(parser)


def run(options: Namespace) -> int:
    """Encrypt again, and say what became of the entries."""
    from laila.tiering.recrypting import recrypt_pool

    with open_to_change(options.pool) as pool, Progress("entries") as progress:
        report = recrypt_pool(
            pool, on_progress=lambda report: progress.show_done(report.recrypted + report.left, 0)
        )
    if options.json:
        failed = {key: said(error) for key, error in report.failed.items()}
        print_json({"recrypted": report.recrypted, "left": report.left, "failed": failed})
        return int(bool(failed))
    for key, error in report.failed.items():
        say(f"left  {key}  {said(error)}")
    say(
        f"{count_text(report.recrypted)} encrypted again, {report.left} left as they were, "
        f"{len(report.failed)} failed"
    )
    return int(bool(report.failed))
