"""Read every entry of a pool, and say which are damaged.

Payloads are read, not heads alone. No key is needed for what is encrypted. The exit code is 0 where all that
was read is whole, 1 where something is damaged, and 2 where the pool or an entry could not be read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from laila.cli.opening import GOES_ON, add_pool, open_to_look
from laila.cli.output import clean, say, size_text
from laila.cli.progress import Progress
from laila.showing import said, shown

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.tiering.verifying import VerifyReport

__all__ = ["configure", "run", "say_report"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool, and which entries are read."""
    add_pool(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="read every entry (the default)")
    which.add_argument(
        "--sample", type=_share, metavar="SHARE", help="read a share that chance draws, such as 5%% or 0.05"
    )
    which.add_argument(
        "--part",
        type=_part,
        metavar="K/N",
        help="read one of N parts, such as 3/10; all parts are everything",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="draw the sample of an earlier run again")
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="remember in FILE what is whole: run again to go on after an interrupt",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(interrupted=": with --state FILE, the same command goes on where it stopped")


def run(options: Namespace) -> int:
    """Read the entries, say what is damaged, and return 0, 1 or 2."""
    from secrets import randbits

    from laila.errors import LailaError
    from laila.tiering.verifying import Selection, verify_pool

    if options.state is not None:
        options.interrupted = GOES_ON
    seed = options.seed if options.seed is not None else randbits(32)
    selection = Selection(sample=options.sample, part=options.part, seed=seed)
    try:
        with open_to_look(options.pool) as pool, Progress() as progress:
            if progress.is_shown:
                progress.total = sum(key in selection for key in pool.keys(as_generator=True))
            report = verify_pool(pool, selection=selection, state=options.state, on_progress=progress.show)
    except (LailaError, OSError) as error:
        if options.traceback:
            raise
        print(f"laila: {clean(said(error))}", file=sys.stderr)
        return 2
    if options.json:
        _print_json(report, seed if options.sample is not None else None)
    else:
        say_report(report)
        if options.sample is not None:
            say(f"a sample of {options.sample:g}; --seed {seed} draws it again")
    return 1 if report.damaged else 2 if report.unread else 0


def say_report(report: VerifyReport) -> None:
    """Print a line for each entry that is not whole, and a summary."""
    for key, error in report.damaged.items():
        say(f"damaged  {key}  {said(error)}")
    for key, error in report.unread.items():
        say(f"unread  {key}  {said(error)}")
    words = [
        f"{report.entries} {'entry' if report.entries == 1 else 'entries'} read",
        size_text(report.nbytes),
        f"{len(report.damaged)} damaged",
    ]
    if report.unread:
        words.append(f"{len(report.unread)} could not be read")
    if report.skipped:
        words.append(f"{report.skipped} were read before")
    say(", ".join(words))


def _print_json(report: VerifyReport, seed: int | None) -> None:
    import json

    fields = {
        "pool": report.pool,
        "entries": report.entries,
        "nbytes": report.nbytes,
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
        "seed": seed,
        "damaged": {key: said(error) for key, error in report.damaged.items()},
        "unread": {key: said(error) for key, error in report.unread.items()},
    }
    print(json.dumps(fields))


def _share(text: str) -> float:
    """Read ``5%`` or ``0.05``."""
    from argparse import ArgumentTypeError

    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ArgumentTypeError(f"give a share such as 5% or 0.05, above 0 and up to 1, not {shown(text)}")
    return share


def _part(text: str) -> tuple[int, int]:
    """Read ``3/10``."""
    from argparse import ArgumentTypeError

    number, _, count = text.partition("/")
    plain = all(word.isascii() and word.isdigit() and len(word) < 10 for word in (number, count))
    if not plain or not 1 <= int(number) <= int(count):
        raise ArgumentTypeError(f"give a part such as 3/10, counted from 1, not {shown(text)}")
    return int(number), int(count)
