"""Delete old evolutions of a variable, or old runs, except the last, the young, the best and the pinned.

NAME is a variable, a pattern such as 'run-*', or what stands before the numbers of names: 'run' for run-1,
run-2. What a manifest refers to that stays, stays. The exit code is 0, 1 where something could not be read or
the pool has nothing of the name, and 2 where the pool could not be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_change, open_to_look
from laila.cli.output import fail, print_json, say, size_text
from laila.showing import said

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.upkeep.expiring import ExpireReport

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool, the name, and the policy."""
    add_pool(parser)
    parser.add_argument("name", metavar="NAME", help="a variable, a pattern, or what stands before numbers")
    parser.add_argument(
        "--keep-last",
        type=int,
        metavar="N",
        help="keep the last N (default: one evolution of a variable, and no run)",
    )
    parser.add_argument("--older-than", metavar="TIME", help="only what is older goes, such as 30d")
    parser.add_argument(
        "--keep-best",
        metavar="FIELD[:max]",
        help="keep the one with the least, or greatest, value of a metadata field",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Apply the policy, print, and return 0, 1 or 2."""
    from laila.errors import EntryNotFoundError, LailaError
    from laila.upkeep.expiring import Policy, expire_in

    try:
        policy = Policy(options.keep_last, options.older_than, options.keep_best)
        with (open_to_look if options.dry_run else open_to_change)(options.pool) as pool:
            report = expire_in(pool, options.name, policy, dry_run=options.dry_run)
    except EntryNotFoundError as error:
        return fail(error, 1, traceback=options.traceback)
    except (LailaError, OSError) as error:
        return fail(error, 2, traceback=options.traceback)
    if options.json:
        _print_json(report)
    else:
        _show(report, dry_run=options.dry_run)
    return int(bool(report.unread))


def _show(report: ExpireReport, *, dry_run: bool) -> None:
    deleted = set(report.deleted)
    for key in report.expired:
        word = "would go" if dry_run else "deleted" if key in deleted else "left"
        say(f"{word}  {key}  {report.names[key]}")
    for key, reason in report.kept.items():
        say(f"kept  {key}  {report.names[key]}: {reason}")
    for key, error in report.unread.items():
        say(f"unread  {key}  {said(error)}")
    if dry_run:
        say(f"{len(report.expired)} would go, {len(report.kept)} stay")
    else:
        say(f"{len(deleted)} entries deleted, {size_text(report.nbytes)}; {len(report.kept)} stay")


def _print_json(report: ExpireReport) -> None:
    print_json(
        {
            "pool": report.pool,
            "expired": report.expired,
            "kept": report.kept,
            "names": report.names,
            "deleted": report.deleted,
            "nbytes": report.nbytes,
            "unread": {key: said(error) for key, error in report.unread.items()},
        }
    )
