"""Serve pools and functions to other policies, until a signal stops it.

Prints one line, the URI and the policy's id, when others can connect. Peers that know the secret get the role
`write`, with --read-only the role `read`. Ctrl-C and SIGTERM finish the queued work and end it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from contextlib import ExitStack
from threading import Event
from typing import TYPE_CHECKING

from laila.cli.health import HealthServer
from laila.cli.logs import add_log_options, log_to_stderr
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
    parser.add_argument(
        "--read-only", action="store_true", help="let peers that know the secret read, and nothing else"
    )
    parser.add_argument(
        "--health-port",
        type=int,
        metavar="PORT",
        help="answer /health and /metrics by HTTP at 127.0.0.1 (0: a free port, which is logged)",
    )
    add_log_options(parser)
    add_secret(parser)


def run(options: Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from laila.active import activate_policy
    from laila.plugins import protocols
    from laila.policy import DefaultPolicy

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    log_to_stderr(options)
    secret = read_secret(options)
    kind = protocols().get("tcpip")
    with DefaultPolicy(nickname=options.nickname) as policy, ExitStack() as stack:
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
            None if options.read_only else secret,
            secrets={secret: "read"} if options.read_only else None,
            certificate=options.certificate,
            private_key=options.private_key,
            allow_plaintext=options.allow_plaintext or None,
        )
        policy.central.communication.add_connection(protocol)
        if options.health_port is not None:
            health = stack.enter_context(HealthServer(policy, options.health_port))
            logger("laila.cli").info("%s/health and /metrics are answered", health.url)
        say(f"{protocol.uri} {policy.global_id}")
        sys.stdout.flush()
        while not stop.wait(3600):
            pass
    return 0
