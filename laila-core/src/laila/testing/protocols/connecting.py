"""Starting, connecting and leaving: who is who, who is let in, and who is told."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from laila.errors import LailaError, PeerError
from laila.testing.bounded import bounded
from laila.testing.nodes import TestNode
from laila.testing.promises import in_threads
from laila.testing.protocols.base import ProtocolSuite, Side, promise

if TYPE_CHECKING:
    from laila.testing.protocols.base import MakeProtocol, MakeSide

__all__ = ["Connecting"]


@bounded
class Connecting(ProtocolSuite):
    """Policies that find each other."""

    # -- start and stop ------------------------------------------------------------------------------------

    def test_start_and_stop(self, made: MakeProtocol, side: MakeSide, secret: str) -> None:
        """Both can be called again, from any thread; a stopped protocol can be started once more."""
        protocol, node = made(secret), TestNode()
        promise(protocol.schemes, "a protocol says by `schemes` which URIs it connects to")
        promise(not protocol.running, "a protocol runs when it was started, not before")
        protocol.stop()
        for _ in range(2):
            in_threads(
                [partial(protocol.start, node)] * 4, "start() from many threads at once ends", self.patience
            )
            promise(protocol.running, "a protocol that was started runs")
            far = Side(node, protocol)
            promise(
                far.uri.partition("://")[0] in protocol.schemes,
                f"`uri` has one of its own schemes, {protocol.schemes}; it is {far.uri}",
            )
            near = side()
            self.connect(near, far.uri, secret, node.policy_id, "peers can connect when start() returns")
            self.gets(near, far, "a protocol that was started answers")
            in_threads([protocol.stop] * 4, "stop() from many threads at once ends", self.patience)
            promise(not protocol.running, "a protocol that was stopped runs no more")
        protocol.close()
        protocol.close()

    def test_a_stopped_one_is_not_there(self, near: Side, far: Side, side: MakeSide, secret: str) -> None:
        """After `stop` nobody can connect or call, in either direction, and gets an error at once."""
        uri = far.uri
        far.protocol.stop()
        other = side()
        what = "connecting to a protocol that was stopped"
        began = time.monotonic()
        self.refused(partial(other.protocol.add_peer, uri, secret), what)
        promise(time.monotonic() - began < self.patience, f"{what} fails soon")
        self.refused(partial(near.call, far, "echo"), "a call to a peer that has stopped")
        self.refused(partial(far.call, near, "echo"), "a call by a protocol that was stopped")
        self.refused(
            partial(far.protocol.add_peer, near.uri, secret), "connecting from a protocol that was stopped"
        )
        promise(not far.node.calls, "a protocol that was stopped dispatches nothing")

    def test_one_that_was_never_started(self, made: MakeProtocol, far: Side, secret: str) -> None:
        """It connects to nobody and calls nobody, and says so."""
        protocol = made(secret)
        self.refused(partial(protocol.add_peer, far.uri, secret), "connecting before start()")
        self.refused(partial(protocol.send_rpc, far.id, ["echo"], [], {}), "a call before start()")
        promise(not far.node.joined, "a protocol that was not started joins nobody")

    def test_options_and_secrets(self, made: MakeProtocol, secret: str) -> None:
        """`options()` can be written down, and the secret shows nowhere."""
        protocol = made(secret, nickname="conformance")
        options = protocol.options()
        promise(json.loads(json.dumps(options)) == options, f"options() is JSON-able; it is {options}")
        promise(options.get("nickname") == "conformance", "options() has the nickname")
        promise(
            protocol.global_id == made(secret, nickname="conformance").global_id,
            "a nickname gives the same id",
        )
        shown = f"{protocol!r} {protocol} {json.dumps(options)} {protocol.settings!r}"
        promise(secret not in shown, "the secret shows neither in repr() nor in options()")
        promise(protocol.missing_secrets(), "missing_secrets() names the secret that options() leaves out")

    # -- connecting ----------------------------------------------------------------------------------------

    def test_peering_is_symmetric(self, near: Side, far: Side) -> None:
        """One connects, both know each other by their ids, both are told, and either calls."""
        self.eventually(lambda: far.node.joined, "the node that a peer connects to is told that it joined")
        for me, other in ((near, far), (far, near)):
            promise(me.node.joined, "both nodes are told that a peer joined")
            peer, protocol = me.node.joined[0]
            promise(peer == other.id, f"a node is told the global id of the peer, {other.id}, not {peer!r}")
            promise(protocol is me.protocol, "a node is told of the protocol that reaches the peer")
            self.gets(me, other, "either side may call, whoever has connected", "hello")
            promise(other.node.calls[-1][0] == me.id, "a node is told who calls, whoever has connected")
            promise(other.node.events[0] == "joined", "a node is told of a peer before it is asked by it")

    def test_many_peers(self, side: MakeSide, far: Side, secret: str) -> None:
        """One policy serves several others; calls to each reach that one."""
        others = [side() for _ in range(5)]
        what = "many may connect at once"
        connecting = [partial(self.connect, one, far.uri, secret, far.id, what) for one in others]
        in_threads(connecting, what, 2 * self.patience)
        for one in others:
            self.eventually(
                lambda one=one: any(peer == one.id for peer, _ in far.node.joined),  # type: ignore[misc]
                "a node is told of every peer that joins",
            )
            self.gets(far, one, "a call reaches the peer that is meant", one.id)
            promise(one.node.calls[-1][2] == (one.id,), "a call reaches the peer that is meant")
            self.gets(one, far, "each of many peers may call", one.id)
            promise(far.node.calls[-1][0] == one.id, "a node is told which of its peers calls")

    def test_a_caller_that_is_no_policy(self, far: Side, secret: str) -> None:
        """Tasks of other processes call a protocol that invites them, and they are nobody's peers."""
        invitation = far.protocol.invitation()
        if invitation is None:
            pytest.skip("invitation() is None: tasks in other processes do not come back by it")
        promise(far.protocol.peer_secret() == secret, "peer_secret() gives the secret that lets others in")
        options = invitation.options
        promise(json.loads(json.dumps(options)) == options, f"an invitation is JSON-able; it has {options}")
        what = 'a protocol that invites takes a node whose policy_id is ""'
        with type(far.protocol).outbound(**options) as protocol:
            caller = Side(TestNode(""), protocol)
            protocol.start(caller.node)
            self.connect(caller, invitation.uri, secret, far.id, what)
            self.gets(caller, far, what, "hello")
        promise(not far.node.joined, "a caller that is no policy is nobody's peer, and nobody is told of it")

    def test_connecting_again(self, near: Side, far: Side, secret: str) -> None:
        """Connecting to a peer that is connected gives its id again, from either side, and harms nothing."""
        self.connect(near, far.uri, secret, far.id, "add_peer again gives the same id")
        self.connect(far, near.uri, secret, near.id, "add_peer from the other side gives its id")
        for me, other in ((near, far), (far, near)):
            for n in range(5):
                self.gets(me, other, "calls go on when peers have connected again", n)
            promise(not me.node.left, "a peer that is connected twice has not left")

    def test_both_connect_at_once(self, side: MakeSide, secret: str) -> None:
        """Two policies that connect to each other at the same moment are connected."""
        for _ in range(5):
            one, other = side(), side()
            what = "two may connect to each other at once"
            connecting = [
                partial(self.connect, me, peer.uri, secret, peer.id, what)
                for me, peer in ((one, other), (other, one))
            ]
            in_threads(connecting, what, 2 * self.patience)
            for me, peer in ((one, other), (other, one)):
                self.eventually(lambda me=me: me.node.joined, "both are told")  # type: ignore[misc]
                for n in range(3):
                    self.gets(me, peer, "two that connect to each other at once may call", n)

    def test_reconnecting(self, near: Side, far: Side, secret: str) -> None:
        """A peer that has stopped and starts again is the same peer, in both directions."""
        far.protocol.stop()
        self.eventually(lambda: far.id in near.node.left, "a node is told that a peer has left")
        far.protocol.start(far.node)
        self.connect(near, far.uri, secret, far.id, "a peer that comes back has the same id")
        self.gets(near, far, "a peer that comes back answers")
        self.eventually(
            lambda: [peer for peer, _ in far.node.joined].count(near.id) >= 2,
            "a node is told again of a peer that has come back",
        )
        self.gets(far, near, "a peer that comes back may call", 2)
        near.protocol.stop()
        near.protocol.start(near.node)
        self.connect(far, near.uri, secret, near.id, "a peer that comes back has the same id")
        self.gets(far, near, "a peer that comes back answers", 3)

    def test_leaving_is_told(self, near: Side, far: Side) -> None:
        """When a peer stops, its peers' nodes are told, and calls to it fail at once."""
        self.eventually(lambda: far.node.joined, "the node that a peer connects to is told that it joined")
        near.protocol.stop()
        self.eventually(lambda: near.id in far.node.left, "a node is told that a peer has left")
        began = time.monotonic()
        self.refused(partial(far.call, near, "echo"), "a call to a peer that has left")
        promise(time.monotonic() - began < self.patience / 2, "a call to a peer that has left fails at once")

    # -- who is let in -------------------------------------------------------------------------------------

    def test_a_wrong_secret_is_refused(self, side: MakeSide, far: Side, secret: str) -> None:
        """A stranger without the secret is refused, soon, and neither side runs anything."""
        for wrong in ("wrong", secret[:-1], secret + "x", secret.upper(), ""):
            other = side(wrong or "another")
            began = time.monotonic()
            error = self.refused(
                partial(other.protocol.add_peer, far.uri, wrong),
                f"connecting with {'a wrong' if wrong else 'an empty'} secret",
                PeerError if wrong else LailaError,
            )
            took = time.monotonic() - began
            promise(took < self.patience, f"a wrong secret is refused soon; it took {took:.1f} s")
            promise(
                secret not in f"{error} {vars(error)}" and (len(wrong) < 10 or wrong not in str(error)),
                "no error shows a secret",
            )
            self.refused(partial(other.call, far, "echo"), "a call to a peer that has refused")
            promise(not other.node.joined, "a peer that has refused has not joined")
        promise(not far.node.joined, "who was refused has not joined")
        promise(not far.node.calls, "nothing is dispatched for one who was refused")
        good = side()
        self.connect(good, far.uri, secret, far.id, "after wrong secrets, the right one is let in")

    def test_any_text_is_a_secret(self, side: MakeSide) -> None:
        """Long secrets and those of other alphabets work, and are compared as a whole."""
        for secret in ("ключ ü 鍵 " * 8, "x" * 1000):
            far, near = side(secret), side(secret)
            self.connect(near, far.uri, secret, far.id, "any text is a secret")
            self.refused(
                partial(side("y" * 40).protocol.add_peer, far.uri, secret[:-1]),
                "a secret that lacks the last character",
            )

    def test_what_is_not_there(self, made: MakeProtocol, side: MakeSide, secret: str) -> None:
        """Connecting to nobody, or to what is no address, fails soon with an error that names the place."""
        gone = Side(TestNode(), made(secret))
        gone.protocol.start(gone.node)
        uri = gone.uri
        gone.protocol.stop()
        near = side()
        began = time.monotonic()
        error = self.refused(partial(near.protocol.add_peer, uri, secret), "connecting where nobody listens")
        promise(time.monotonic() - began < self.patience, "connecting where nobody listens fails soon")
        place = uri.partition("://")[2]
        promise(
            place in f"{error} {vars(error)}",
            f"an error says which peer cannot be reached, {place}; it says {error}",
        )
        scheme = near.protocol.schemes[0]
        for nonsense in (f"{scheme}://", f"{scheme}://127.0.0.1:nonsense", "nonsense"):
            self.refused(
                partial(near.protocol.add_peer, nonsense, secret), f"connecting to {nonsense!r}", LailaError
            )
        promise(not near.node.joined, "nobody joins who is not there")
