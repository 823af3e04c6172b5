"""Programs that use a protocol in a process of their own: killed, forked, and ended with calls under way.

Run as ``python -m laila.testing.protocol_child`` with a description of the protocol and of what to do on
standard input. Imports neither pytest nor hypothesis, so that it starts quickly.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from laila.errors import PeerError
from laila.testing.building import build, hear, say
from laila.testing.nodes import TestNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import Protocol

__all__: list[str] = []


def _serve(protocol: Protocol, secret: str) -> None:
    """Say where it is, and how many calls are held; end when told to, with them under way."""
    node = TestNode()
    protocol.start(node)
    say([node.policy_id, protocol.uri])
    threading.Thread(target=_count, args=(node,), daemon=True).start()
    hear()


def _count(node: TestNode) -> None:
    held = 0
    while True:
        time.sleep(0.1)
        # When no more have come for a moment.
        if node.held and held == node.held:
            say(f"held {held}")
            return
        held = node.held


def _call(protocol: Protocol, secret: str, uri: str) -> None:
    """Make a call that is held; end when told to, with the call under way."""
    protocol.start(TestNode())
    peer = protocol.add_peer(uri, secret)
    threading.Thread(target=protocol.send_rpc, args=(peer, ["hold"], [], {}), daemon=True).start()
    say("calling")
    hear()


def _fork(protocol: Protocol, secret: str, uri: str, limit: float) -> None:
    """Fork, call in the child, then in the parent; say what came of it."""
    protocol.start(TestNode())
    peer = protocol.add_peer(uri, secret)
    first = protocol.send_rpc(peer, ["give"], [1], {})
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _call_in_child(protocol, peer, writer, limit)
        protocol.stop()  # as a policy does when its process ends
        return  # and the child ends as every program does
    os.close(writer)
    said = b""
    while data := os.read(reader, 100):
        said += data
    os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    time.sleep(0.2)  # for what the child's end may have done to the connection
    try:
        second = protocol.send_rpc(peer, ["give"], [2], {})
    except PeerError as error:
        second = repr(error)
    say({"child": said.decode() or "hung", "code": code, "parent": [first, second]})
    hear()
    protocol.stop()


def _call_in_child(protocol: Protocol, peer: str, writer: int, limit: float) -> None:
    signal.alarm(int(limit) + 1)  # a hang ends here, and has said nothing
    try:
        protocol.send_rpc(peer, ["give"], [3], {})
    except PeerError:
        said = "refused"
    except Exception as error:  # noqa: BLE001 - told
        said = repr(error)
    else:
        said = "answered"
    os.write(writer, said.encode())
    os.close(writer)


_PROGRAMS: dict[str, Callable[..., None]] = {"serve": _serve, "call": _call, "fork": _fork}


def _main() -> None:
    order = hear()
    _PROGRAMS[order["program"]](build(order["protocol"]), order["secret"], **order["arguments"])


if __name__ == "__main__":
    _main()
