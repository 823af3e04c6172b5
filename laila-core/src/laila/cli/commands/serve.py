"""Serve pools and functions to other policies, until a signal stops it.

Prints one line, the URI and the policy's id, when others can connect. Peers that know the secret get the role
`write`. Ctrl-C and SIGTERM finish the queued work and end it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from threading import Event
from typing import TYPE_CHECKING

from laila.cli.output import say
from laila.cli.secret import add_secret, read_secret
from laila.showing import logger

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["configure", "run"]


def configure(parser: ArgumentParser) -> None:
    """Add the address, the pools, the secret and what is exported."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="the port (default: a free one)")
    parser.add_argument(
        "--pool",
        metavar="URL",
        action="append",
        default=[],
        help="a pool to serve, such as hdf5:///data/run.h5; the first is what is meant when none is named; "
        "NICKNAME=URL names it; without any, one in memory",
    )
    parser.add_argument(
        "--import",
        metavar="MODULE",
        action="append",
        default=[],
        dest="modules",
        help="import a module, of the current folder or installed, whose functions with @laila.export can be "
        "called",
    )
    parser.add_argument("--nickname", help="the policy's nickname, which makes its id the same each time")
    parser.add_argument("--certificate", metavar="FILE", help="listen with TLS, as wss://")
    parser.add_argument("--private-key", metavar="FILE", help="the key of the certificate")
    parser.add_argument(
        "--allow-plaintext", action="store_true", help="let other machines connect without TLS"
    )
    add_secret(parser)


def run(options: Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from laila.active import activate_policy
    from laila.plugins import protocols
    from laila.policy import DefaultPolicy

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _tell_of_refusals()
    secret = read_secret(options)
    kind = protocols().get("tcpip")
    with DefaultPolicy(nickname=options.nickname) as policy:
        activate_policy(policy)
        for i, pool in enumerate(options.pool):
            nickname, equals, url = pool.partition("=")
            named = equals and nickname.isidentifier()
            opened = policy.extend(url if named else pool, pool_nickname=nickname if named else None)
            if i == 0:
                policy.central.memory.alpha_pool = opened
        if options.modules:
            # Last, so that a file there never replaces a module of Python or of a library.
            sys.path.append(os.getcwd())
        for module in options.modules:
            importlib.import_module(module)
        protocol = kind(
            options.host,
            options.port,
            secret,
            certificate=options.certificate,
            private_key=options.private_key,
            allow_plaintext=options.allow_plaintext or None,
        )
        policy.central.communication.add_connection(protocol)
        say(f"{protocol.uri} {policy.global_id}")
        sys.stdout.flush()
        while not stop.wait(3600):
            pass
    return 0


def _tell_of_refusals() -> None:
    """Print on stderr which peers were refused and why, and other warnings for the operator."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logger("laila.comm.tcpip")
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
