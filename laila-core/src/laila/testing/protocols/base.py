"""What the tests of a protocol are made of: what its author gives, and the nodes that a test connects."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from laila.errors import PeerError
from laila.testing import promises
from laila.testing.bounded import within
from laila.testing.nodes import TestNode
from laila.testing.promises import broken, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar

    from laila.contract import Protocol

    MakeProtocol = Callable[..., Protocol]
    MakeSide = Callable[..., "Side"]

__all__ = ["STOP", "ProtocolSuite", "Side", "promise"]

STOP = 2.0
"""Seconds that stopping takes at most; as many more are granted to a machine that is busy."""


def promise(kept: object, what: str, see: str = "laila/contract/protocol.py") -> None:
    """Fail the test unless ``kept``; ``what`` was promised, in ``see``."""
    __tracebackhide__ = True
    promises.promise(kept, f"{what}; see {see}")


class Side:
    """One policy in a test: its node, and the protocol that serves it."""

    def __init__(self, node: TestNode, protocol: Protocol) -> None:
        self.node = node
        self.protocol = protocol

    @property
    def id(self) -> str:
        """Its global id for peers."""
        return self.node.policy_id

    @property
    def uri(self) -> str:
        """Where it is reached."""
        __tracebackhide__ = True
        uri = self.protocol.uri
        if uri is None:
            broken("a protocol that is started says by `uri` where peers connect to; it is None")
        return uri

    def call(self, peer: Side | str, *path: str, args: Any = (), **kwargs: Any) -> Any:
        """Call a method of a peer."""
        peer_id = peer if isinstance(peer, str) else peer.id
        return self.protocol.send_rpc(peer_id, list(path), args, kwargs)


class ProtocolSuite:
    """The fixtures of an author, and the helpers of the tests.

    The attributes say what kind of protocol it is; tests that do not concern the kind are skipped with the
    reason. The fixture ``make_protocol`` is the one thing every author defines.
    """

    tcp: ClassVar[bool] = True
    """Its URIs are ``scheme://host:port`` of a TCP port, so that the suite can listen in, replay and cut."""

    max_bytes: ClassVar[int] = 16 * 1024 * 1024
    """The largest bytes, and the largest blob, that one call must carry."""

    in_flight: ClassVar[int] = 32
    """How many calls of one peer are under way at a time, at least."""

    patience: ClassVar[float] = 20.0
    """Seconds after which what should end counts as hanging."""

    @pytest.fixture
    def make_protocol(self) -> MakeProtocol:
        """Give a callable that makes a protocol: ``make(secret, nickname=…)``.

        It listens where no other does (on a port that the system chooses), lets in whoever knows the secret,
        and reaches others of its kind. The suite closes what it makes.
        """
        broken("a suite for protocols defines the fixture `make_protocol`; see docs/reference/testing.md")

    # -- what the tests take -----------------------------------------------------------------------------

    @pytest.fixture
    def secret(self) -> str:
        """The data that the policies of a test share."""
        return secrets.token_hex(24)

    @pytest.fixture
    def made(self, make_protocol: MakeProtocol) -> Iterator[MakeProtocol]:
        """``make_protocol``, with every protocol that it makes closed after the test."""
        __tracebackhide__ = True
        made: list[Protocol] = []

        def make(secret: str, **options: Any) -> Protocol:
            made.append(make_protocol(secret, **options))
            return made[-1]

        yield make
        for protocol in reversed(made):
            within(self.patience, "close() ends", protocol.close)

    @pytest.fixture
    def side(self, made: MakeProtocol, secret: str) -> Iterator[MakeSide]:
        """A callable that makes one more policy, served under the secret of the test or another one."""
        sides: list[Side] = []

        def make(other_secret: str | None = None, policy_id: str | None = None) -> Side:
            sides.append(Side(TestNode(policy_id), made(other_secret or secret)))
            sides[-1].protocol.start(sides[-1].node)
            return sides[-1]

        yield make
        for one in sides:
            one.node.release.set()

    @pytest.fixture
    def far(self, side: MakeSide) -> Side:
        """A policy that others connect to."""
        return side()

    @pytest.fixture
    def near(self, side: MakeSide, far: Side, secret: str) -> Side:
        """A policy that is connected to ``far``."""
        near = side()
        self.connect(near, far.uri, secret, far.id, "whoever knows the secret is let in")
        return near

    # -- what the tests say ------------------------------------------------------------------------------

    def eventually(self, kept: Callable[[], object], what: str) -> None:
        """Wait until a promise is kept."""
        __tracebackhide__ = True
        until(kept, lambda: f"{what}; see laila/contract/protocol.py", self.patience)

    def connect(self, me: Side, uri: str, secret: str, peer: str, what: str) -> None:
        """Connect to a peer, as was promised by ``what``."""
        __tracebackhide__ = True
        try:
            found = me.protocol.add_peer(uri, secret)
        except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the promise
            broken(f"{what}; add_peer raised {type(error).__name__}: {error}")
        promise(
            found == peer, f"{what}, and add_peer gives the global id of the peer, {peer}; it gave {found!r}"
        )

    def ask(self, me: Side, peer: Side | str, what: str, *path: str, args: Any = (), **kwargs: Any) -> Any:
        """Call a method of a peer and return its result, as was promised by ``what``."""
        __tracebackhide__ = True
        try:
            return me.call(peer, *path, args=args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the promise
            broken(f"{what}; a call of {'.'.join(path)} raised {type(error).__name__}: {error!s:.500}")

    def gets(self, me: Side, peer: Side | str, what: str, value: object = 1) -> None:
        """Send a value to a peer and get it back, as was promised by ``what``."""
        __tracebackhide__ = True
        found = self.ask(me, peer, what, "give", args=[value])
        promise(found == value, f"{what}; a call that should give {value!r:.100} gave {found!r:.100}")

    def refused(
        self, use: Callable[[], object], what: str, kind: type[BaseException] = PeerError
    ) -> BaseException:
        """Return the error that ``use`` raises; the promise ``what`` is broken where it is no ``kind``."""
        __tracebackhide__ = True
        try:
            given = use()
        except kind as error:
            return error
        except Exception as error:  # noqa: BLE001 - told below
            promise(False, f"{what} is a {kind.__name__}; it raised {type(error).__name__}: {error}")
        else:
            promise(False, f"{what} is a {kind.__name__}; it returned {given!r:.200}")
        raise AssertionError

    def needs_tcp(self) -> None:
        """Skip a test that stands between two policies."""
        if not self.tcp:
            pytest.skip("tcp is False: the suite does not know how to stand between two policies")
