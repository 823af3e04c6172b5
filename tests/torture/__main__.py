"""Run the checks that the options choose, print what each found, and exit with 1 if a promise was broken."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torture.crash import crash
from torture.damage import damage, truncation
from torture.faults import faults
from torture.histories import histories
from torture.race import race
from torture.report import Options, Report
from torture.soak import soak
from torture.stores import DURABLE, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

CHECKS: dict[str, Callable[[Store, Options], Report]] = {
    "crash": crash,
    "race": race,
    "damage": damage,
    "cuts": truncation,
    "faults": faults,
    "linear": histories,
    "soak": soak,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; return the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--only", default="", help=f"some of {','.join(CHECKS)} (default: all)")
    parser.add_argument("--pools", default="", help=f"some of {','.join(DURABLE)} (default: all)")
    parser.add_argument("--rounds", type=int, default=50, help="the most rounds of a check (default: 50)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="the most seconds of a check on one pool (default: 60)"
    )
    parser.add_argument("--seed", type=int, help="do what that seed did (default: a new one)")
    options = parser.parse_args(arguments)
    checks = chosen(parser, options.only, CHECKS)
    pools = chosen(parser, options.pools, DURABLE)
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    logging.getLogger("laila").setLevel(logging.CRITICAL)  # what is lost on purpose is not told of
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="laila-torture-") as folder:
        for check in checks:
            for pool in pools:
                with Store(pool, Path(folder, f"{check}-{pool}")) as store:
                    report = CHECKS[check](store, Options(seed, options.rounds, options.seconds))
                print(report, flush=True)
                wrong += bool(report.wrong)
    return int(wrong > 0)


def chosen(parser: argparse.ArgumentParser, text: str, every: Collection[str]) -> list[str]:
    """Return the names in ``text``, or every name."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(every)
    for name in names:
        if name not in every:
            parser.error(f"there is no {name!r}: {', '.join(every)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
