"""Count the bytes of a pool by nickname, manifest and kind.

Bytes that several manifests share are counted once in the total. Payloads are not read, except those of
manifests. The exit code is 0, 1 where an entry could not be read, and 2 where the pool could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_look
from laila.cli.output import count_text, fail, print_json, say, show_table, size_text
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.upkeep.usage import Usage, UsageReport

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool, and how many rows are shown."""
    add_pool(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="show the N largest rows (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Count, print, and return 0, 1 or 2."""
    from laila.errors import LailaError
    from laila.upkeep.usage import measure_pool

    try:
        with open_to_look(options.pool) as pool:
            report = measure_pool(pool)
    except (LailaError, OSError) as error:
        return fail(error, 2, traceback=options.traceback)
    if options.json:
        _print_json(report, options.limit)
    else:
        _show(report, options.limit)
    return int(bool(report.unread))


def _show(report: UsageReport, limit: int | None) -> None:
    rows = report.names[: max(limit, 0)] if limit is not None else report.names
    if rows:
        show_table(("NAME", "KIND", "ENTRIES", "BYTES", "SHARED"), map(_row, rows))
    if len(rows) < len(report.names):
        say(f"… {len(report.names) - len(rows)} more")
    for kind, (count, nbytes) in sorted(report.kinds.items()):
        say(f"{kind}: {count_text(count)}, {size_text(nbytes)}")
    for key, error in report.unread.items():
        say(f"unread  {key}  {said(error)}")
    words = [f"{count_text(report.entries)}, {size_text(report.nbytes)} stored"]
    words.append(f"{size_text(report.shared)} shared by several manifests")
    words.append(f"{size_text(report.loose)} in no row")
    say(", ".join(words))


def _row(row: Usage) -> tuple[object, ...]:
    shared = size_text(row.shared) if row.shared else ""
    return (row.name, row.kind, row.entries, size_text(row.nbytes), shared)


def _print_json(report: UsageReport, limit: int | None) -> None:
    rows = report.names[: max(limit, 0)] if limit is not None else report.names
    print_json(
        {
            "pool": report.pool,
            "entries": report.entries,
            "nbytes": report.nbytes,
            "shared": report.shared,
            "loose": report.loose,
            "kinds": {
                kind: {"entries": count, "nbytes": nbytes} for kind, (count, nbytes) in report.kinds.items()
            },
            "names": [row._asdict() for row in rows],
            "unread": {key: said(error) for key, error in report.unread.items()},
        }
    )
