"""Find what nothing named or pinned refers to, and with --delete delete it.

Nothing is changed without --delete. Others may write to the pool meanwhile. The exit code is 0, 1 where
something could not be read (nothing is deleted while a manifest cannot be read), and 2 where the pool could
not be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_change, open_to_look
from laila.cli.output import count_text, fail, print_json, say, show_table, size_text, time_text
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.upkeep.collecting import Candidate, CollectReport

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool, and whether and when something is deleted."""
    add_pool(parser)
    parser.add_argument("--delete", action="store_true", help="delete what is due (default: only say what)")
    parser.add_argument(
        "--grace",
        default="1d",
        metavar="TIME",
        help="how long something has to be unused first, such as 12h (default: 1d)",
    )
    parser.add_argument(
        "--alone", action="store_true", help="nobody writes to the pool: --grace 0 is allowed"
    )
    parser.add_argument(
        "--inputs", action="store_true", help="keep the inputs that the provenance of kept entries names"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="show the N largest (default: 20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with all candidates")


def run(options: Namespace) -> int:
    """Collect, print, and return 0, 1 or 2."""
    from laila.errors import LailaError
    from laila.upkeep.collecting import check_grace, collect

    try:
        grace = check_grace(_number(options.grace), alone=options.alone)
        with (open_to_change if options.delete else open_to_look)(options.pool) as pool:
            report = collect(pool, delete=options.delete, grace=grace, inputs=options.inputs)
    except (LailaError, OSError) as error:
        return fail(error, 2, traceback=options.traceback)
    if options.json:
        _print_json(report)
    else:
        _show(report, options)
    return int(bool(report.unread))


def _number(text: str) -> str | float:
    """Read seconds; other texts are lengths of time, or wrong."""
    return float(text) if text.isascii() and text.isdecimal() else text


def _show(report: CollectReport, options: Namespace) -> None:
    due = set(report.due)
    rows = report.candidates[: max(options.limit, 0)]
    if rows:
        show_table(
            ("ID", "KIND", "TYPE", "BYTES", "CREATED", "AGE", ""), [_row(row, row.key in due) for row in rows]
        )
    if len(rows) < len(report.candidates):
        say(f"… {len(report.candidates) - len(rows)} more")
    for key, error in report.unread.items():
        say(f"unread  {key}  {said(error)}")
    for key, holder in report.kept.items():
        say(f"kept  {key}  {holder} has come to refer to it")
    total = sum(candidate.nbytes for candidate in report.candidates)
    say(
        f"{count_text(len(report.candidates))} of {report.entries}, {size_text(total)}: nothing named or "
        "pinned refers to them"
    )
    if not options.delete:
        say(f"{len(due)} would go with --delete --grace {options.grace}")
        return
    say(f"{len(report.deleted)} deleted, {size_text(report.nbytes)}")
    if waiting := len(report.candidates) - len(due):
        say(f"{waiting} wait for the end of their grace period: run this again after {options.grace}")


def _row(row: Candidate, is_due: bool) -> tuple[object, ...]:
    from laila.upkeep.times import time_of

    age = "" if row.age is None else time_of(row.age)
    created = time_text(row.created)
    return (row.key, row.kind, row.type, size_text(row.nbytes), created, age, "due" if is_due else "")


def _print_json(report: CollectReport) -> None:
    print_json(
        {
            "pool": report.pool,
            "entries": report.entries,
            "candidates": [candidate._asdict() for candidate in report.candidates],
            "due": report.due,
            "deleted": report.deleted,
            "nbytes": report.nbytes,
            "kept": report.kept,
            "unread": {key: said(error) for key, error in report.unread.items()},
        }
    )
