"""List what is lent: each borrowed entry, its holder, since when, and how long the lease lasts.

A lease lasts until its holder gives it back. A holder that died or was stopped loses it when the time is
over; "over" says that the next borrower gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.opening import add_pool, open_to_look
from laila.cli.output import say, show_table, time_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from laila.leasing.listing import Lent

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the pool."""
    add_pool(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object for each lease")


def run(options: Namespace) -> int:
    """Print the leases."""
    from laila.leasing.listing import list_leases

    with open_to_look(options.pool) as pool:
        leases = list_leases(pool.lease_table_here())
    if options.json:
        import json

        for lease in leases:
            print(json.dumps(lease._asdict()))
        return 0
    if leases:
        show_table(("ENTRY", "HOST", "PROCESS", "SINCE", "LASTS", "NUMBER"), map(_row, leases))
    say(f"{len(leases)} {'lease' if len(leases) == 1 else 'leases'}")
    return 0


def _row(lease: Lent) -> tuple[object, ...]:
    left = lease.seconds_left
    lasts = f"up to {lease.ttl:g} s" if left is None else "over" if left <= 0 else f"{left:.0f} s"
    return (lease.key, lease.host, lease.pid or "", time_text(lease.since), lasts, lease.fence)
