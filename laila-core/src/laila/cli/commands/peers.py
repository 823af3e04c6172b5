"""Show what a policy offers: its pools, the functions it exports, and what the secret allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.cli.output import print_json, say, show_fields, show_table
from laila.cli.secret import add_secret, read_secret

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the URI and the secret."""
    parser.add_argument("uri", metavar="URI", help="such as ws://127.0.0.1:8765")
    add_secret(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    """Connect, ask, and print the answer."""
    from laila.policy import DefaultPolicy

    secret = read_secret(options)
    with DefaultPolicy() as policy:
        communication = policy.central.communication
        peer = communication.peers[communication.add_peer(options.uri, secret)]
        peer.timeout = 30.0
        offer = peer.describe()
    if options.json:
        print_json(offer)
        return 0
    fields = [("policy", offer["policy"]), ("laila-core", offer["version"]), ("role", offer["role"])]
    if offer["nickname"]:
        fields.insert(1, ("nickname", offer["nickname"]))
    show_fields([*fields, ("methods", " ".join(offer["methods"]))])
    say("")
    show_table(
        ("POOL", "KIND", "DURABILITY", "AFFINITY", "ID"),
        [
            (
                f"{pool['nickname'] or ''}{' (alpha)' if pool['alpha'] else ''}".strip(),
                pool["kind"],
                pool["durability"],
                pool["affinity"],
                pool["pool_id"],
            )
            for pool in offer["pools"]
        ],
    )
    if offer["functions"]:
        say("")
        show_table(
            ("FUNCTION", "ROLE", "WHAT IT DOES"),
            [(function["name"], function["role"], function["summary"]) for function in offer["functions"]],
        )
    return 0
