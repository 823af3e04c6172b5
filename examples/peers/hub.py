"""The one node that holds the credentials of the pool: it serves the pool to the others, and nothing else.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… python hub.py s3://bucket

The secret that lets others in is in LAILA_TCPIP_PEER_SECRET_KEY. Prints the URI of the node, and serves until
it is interrupted, or its standard input ends.
"""

from __future__ import annotations

import os
import sys

import laila


@laila.export(role="read")
def whoami() -> dict[str, bool]:
    """Say whether this process has the credentials; never what they are."""
    return {"credentials": "AWS_SECRET_ACCESS_KEY" in os.environ}


def main(url: str) -> None:
    """Serve the pool at ``url``."""
    laila.memory.alpha_pool = url
    protocol = laila.DefaultTCPIPProtocol(host="127.0.0.1", port=0)
    laila.communication.add_connection(protocol)
    print(protocol.uri, flush=True)
    sys.stdin.read()
    laila.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
