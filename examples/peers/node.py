"""A node without credentials: it uses the hub's pool through the hub, as if it were its own.

    python node.py write ws://host:port
    python node.py read ws://host:port

The one writes a manifest of arrays, the other reads it, and adds up what is in it.
"""

from __future__ import annotations

import os
import sys

import numpy as np

import laila


def write() -> None:
    """Store a run: arrays, and a manifest that names them. Names make a second time the same run."""
    parts = [
        laila.constant(np.full((100, 100), number, dtype="f8"), nickname=f"run part {number}")
        for number in range(5)
    ]
    config = laila.constant({"lr": 0.1}, nickname="run config")
    run = laila.Manifest({"parts": parts, "config": config}, nickname="run")
    laila.memorize(run).wait()
    print("stored", len(list(run)), "entries")


def read() -> None:
    """Fetch the run, whole."""
    run = laila.remember(nickname="run").result
    tree = run.resolved
    total = sum(float(part.data.sum()) for part in tree["parts"])
    print("the sum is", total, "with", tree["config"].data)


def main(what: str, uri: str) -> None:
    """Connect to the hub, and make it the active policy."""
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    hub = laila.peers[laila.add_peer(uri, os.environ["LAILA_TCPIP_PEER_SECRET_KEY"])]
    print("the hub has the credentials:", hub.central.command.submit("whoami", wait=True)["credentials"])
    laila.activate_policy(hub)  # every verb runs over there from now on
    {"write": write, "read": read}[what]()
    laila.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:3])
