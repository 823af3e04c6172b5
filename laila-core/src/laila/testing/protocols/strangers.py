"""Those who do not know the secret: what they overhear, replay, send and hold up, without effect."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from laila.errors import PeerDisconnectedError
from laila.testing.bounded import bounded
from laila.testing.promises import in_threads
from laila.testing.protocols.base import STOP, ProtocolSuite, Side, promise
from laila.testing.protocols.proxy import Proxy, say_to

if TYPE_CHECKING:
    from laila.testing.protocols.base import MakeSide

__all__ = ["Strangers"]

PAUSE = 1.0
"""Seconds to wait for an effect of a stranger's words."""


@bounded
class Strangers(ProtocolSuite):
    """A line that somebody listens to, and an address that anybody can reach."""

    def test_the_secret_never_crosses(self, side: MakeSide, far: Side, secret: str) -> None:
        """An eavesdropper sees neither the secret nor a plain digest of it, in both directions."""
        self.needs_tcp()
        near = side()
        with Proxy(far.uri) as proxy:
            self.connect(near, proxy.uri, secret, far.id, "a policy connects through a proxy")
            self.gets(near, far, "calls pass through a proxy")
            self.gets(far, near, "calls pass through a proxy", 2)
            stranger = side("another secret, and long enough")
            self.refused(partial(stranger.protocol.add_peer, proxy.uri, "not the secret"), "a wrong secret")
        passed = b"".join(proxy.sent + proxy.answered).lower()
        for what, form in _forms(secret).items():
            promise(form.lower() not in passed, f"nobody who listens in learns the secret; {what} was sent")

    def test_what_was_heard_is_worth_nothing(self, side: MakeSide, far: Side, secret: str) -> None:
        """A recorded session, sent again as a whole or without its handshake, has nothing dispatched."""
        self.needs_tcp()
        near = side()
        with Proxy(far.uri) as proxy:
            self.connect(near, proxy.uri, secret, far.id, "whoever knows the secret is let in")
            for n in range(3):
                self.gets(near, far, "calls pass", f"overheard {n}")
        pieces = list(proxy.sent)
        self.eventually(lambda: near.id in far.node.left, "a node is told that a peer's line was cut")
        calls, joined = len(far.node.calls), len(far.node.joined)
        attempts = [pieces]
        for kept in range(min(len(pieces), 3)):
            attempts += [pieces[:kept] + pieces[start:] for start in range(kept + 1, len(pieces))]
        in_threads(
            [partial(say_to, far.uri, attempt, PAUSE) for attempt in attempts],
            "strangers are dealt with",
            2 * self.patience,
        )
        promise(
            len(far.node.calls) == calls,
            f"nothing is dispatched before a peer has shown that it knows the secret; sent again in "
            f"{len(attempts)} ways, an overheard session had {far.node.calls[calls:][:3]} dispatched",
        )
        promise(len(far.node.joined) == joined, "one who sends an overheard handshake again has not joined")
        self.connect(side(), far.uri, secret, far.id, "after strangers, peers are let in")

    def test_noise_does_no_harm(self, near: Side, far: Side, side: MakeSide, secret: str) -> None:
        """Whatever bytes a stranger sends, the node goes on, and its peers do not notice."""
        self.needs_tcp()
        noise = [
            b"",
            b"\x00" * 100,
            b"\xff" * 100_000,
            os.urandom(10_000),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x7f\xff\xff\xff" + b"{}" * 1000,
            b"\x00\x00\x00\x02[]",
            b'{"jsonrpc": "2.0", "id": 1, "method": "give", "params": [1]}\n' * 10,
            b"[" * 200_000,
        ]
        in_threads(
            [partial(say_to, far.uri, [each, each], PAUSE) for each in noise],
            "noise is dealt with",
            self.patience,
        )
        promise(not far.node.calls, f"noise has nothing dispatched; it had {far.node.calls[:3]}")
        self.gets(near, far, "noise from strangers does not disturb a peer")
        self.connect(side(), far.uri, secret, far.id, "after noise from strangers, peers are let in")

    def test_silent_strangers_hold_up_nobody(self, side: MakeSide, far: Side, secret: str) -> None:
        """Connections on which nobody says a word keep no peer out, and do not keep `stop` from ending."""
        self.needs_tcp()
        host, _, port = far.uri.partition("://")[2].rpartition(":")
        silent = [socket.create_connection((host.strip("[]"), int(port)), 10) for _ in range(8)]
        try:
            near = side()
            self.connect(near, far.uri, secret, far.id, "silent strangers keep no peer out")
            self.gets(near, far, "silent strangers hold up no call")
            began = time.monotonic()
            far.protocol.stop()
            took = time.monotonic() - began
            promise(
                took < 5 * STOP, f"stop() ends within {STOP:g} s, whoever is connected; it took {took:.1f} s"
            )
        finally:
            for each in silent:
                each.close()

    # -- the line itself -----------------------------------------------------------------------------------

    def test_a_line_that_is_cut(self, side: MakeSide, far: Side, secret: str) -> None:
        """When the line is cut in mid-call, the call fails at once, and both nodes are told."""
        self.needs_tcp()
        near = side()
        with Proxy(far.uri) as proxy:
            self.connect(near, proxy.uri, secret, far.id, "whoever knows the secret is let in")

            def cut() -> None:
                self.eventually(lambda: far.node.held == 1, "a call is dispatched")
                proxy.cut()

            def call() -> None:
                self.refused(
                    partial(near.call, far, "hold"), "a call whose line is cut", PeerDisconnectedError
                )

            in_threads(
                [call, cut],
                "a call whose line is cut fails at once, and does not wait for ever",
                self.patience,
            )
        for me, other in ((near, far), (far, near)):
            self.eventually(partial(_left, me, other), "both nodes are told of a cut line")
            self.refused(partial(me.call, other, "echo"), "a call after the line was cut")
        self.connect(near, far.uri, secret, far.id, "one whose line was cut can connect again")
        self.gets(near, far, "one whose line was cut can connect again, and call")

    def test_half_an_answer_is_none(self, side: MakeSide, far: Side, secret: str) -> None:
        """A line that is cut within an answer fails the call; no part of an answer is ever given out."""
        self.needs_tcp()
        for count in (1, 1000, 500_000):
            near = side()
            with Proxy(far.uri) as proxy:
                self.connect(near, proxy.uri, secret, far.id, "whoever knows the secret is let in")
                self.gets(near, far, "calls pass through a proxy")
                proxy.cut_after(count)
                self.refused(
                    partial(near.call, far, "make", args=[1_000_000]),
                    f"a call whose line is cut after {count} bytes of the answer",
                    PeerDisconnectedError,
                )

    def test_the_end_of_one_line_leaves_the_other(self, side: MakeSide, far: Side, secret: str) -> None:
        """If there are two lines to one peer, the end of the older one never ends the newer."""
        self.needs_tcp()
        near = side()
        with Proxy(far.uri) as proxy:
            self.connect(near, proxy.uri, secret, far.id, "whoever knows the secret is let in")
            self.connect(near, far.uri, secret, far.id, "add_peer again gives the same id")
            proxy.cut()
            for n in range(20):
                time.sleep(0.01)
                self.gets(near, far, "the end of an old connection does not end the new one", n)
                self.gets(far, near, "the end of an old connection does not end the new one", n)


def _left(me: Side, other: Side) -> bool:
    return other.id in me.node.left


def _forms(secret: str) -> dict[str, bytes]:
    """Forms of the secret that could be recognized, in lower case."""
    raw = secret.encode()
    forms = {
        "the secret itself": raw,
        "the secret in hexadecimal": raw.hex().encode(),
        "the secret in base64": base64.b64encode(raw).rstrip(b"="),
        "the secret backwards": raw[::-1],
    }
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, raw, usedforsecurity=False).digest()
        forms |= {f"its plain {name}": digest, f"its plain {name} in hexadecimal": digest.hex().encode()}
    return forms
