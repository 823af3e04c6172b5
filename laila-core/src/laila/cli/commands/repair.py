"""Replace the damaged entries of a pool with whole copies of another pool.

Every entry is read first. Only damaged entries are replaced, and the damaged bytes are kept aside. The exit
code is 0 where nothing damaged is left, 1 where something is, and 2 where a pool could not be read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, goes_on, open_to_change, open_to_look
from laila.cli.output import clean, print_json, say
from laila.cli.progress import Progress
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pools, and where damaged bytes are kept."""
    add_pool(parser, "the pool to repair, such as hdf5:///data/run.h5")
    goes_on(parser)
    parser.add_argument(
        "--from", dest="source", metavar="POOL_URL", required=True, help="the pool that has whole copies"
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--keep", metavar="FOLDER", help="keep the damaged bytes there (default: damaged in laila's home)"
    )
    kept.add_argument("--discard", action="store_true", help="keep no damaged bytes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Repair the pool, say what became of each damaged entry, and return 0, 1 or 2."""
    from laila.errors import LailaError
    from laila.tiering.repairing import repair_pool

    keep = False if options.discard else options.keep or True
    try:
        with (
            open_to_look(options.source) as source,
            open_to_change(options.pool) as pool,
            Progress() as progress,
        ):
            report = repair_pool(pool, source, keep=keep, on_progress=progress.show)
    except (LailaError, OSError) as error:
        if options.traceback:
            raise
        print(f"laila: {clean(said(error))}", file=sys.stderr)
        return 2
    if options.json:
        failed = {key: said(reason) for key, reason in report.failed.items()}
        kept_in = {key: str(path) for key, path in report.kept.items()}
        print_json({"repaired": list(report.repaired), "kept": kept_in, "failed": failed})
        return 0 if report.whole else 1
    for key in report.repaired:
        kept = report.kept.get(key)
        say(f"repaired  {key}{f'  (damaged bytes: {kept})' if kept else ''}")
    for key, reason in report.failed.items():
        say(f"left  {key}  {said(reason)}")
    say(f"{len(report.repaired)} repaired, {len(report.failed)} left that are damaged or could not be read")
    return 0 if report.whole else 1
