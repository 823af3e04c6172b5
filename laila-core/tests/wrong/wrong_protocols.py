"""Protocols that each break one promise, under the suite that shall find it.

See test_conformance_finds_more.py. Those that make a test hang give it little patience.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, Self

import pytest
from right_protocol import Lines, Link

from laila.contract import Invitation, Node, Protocol, Request
from laila.testing import ProtocolConformance

# -- who is let in -------------------------------------------------------------------------------------------


class AcceptsAnySecret(Lines):
    def proof(self, secret: str, who: str, both: dict[str, Any]) -> str:
        return super().proof("any", who, both)


class SendsTheSecret(Lines):
    def hello(self, mine: dict[str, Any], secret: str) -> dict[str, Any]:
        return {**mine, "secret": secret}


class SendsADigest(Lines):
    def hello(self, mine: dict[str, Any], secret: str) -> dict[str, Any]:
        return {**mine, "check": hashlib.sha256(secret.encode()).hexdigest()}


class CanBeReplayed(Lines):
    def hello(self, mine: dict[str, Any], secret: str) -> dict[str, Any]:
        mine["nonce"] = "always the same"
        return mine


class DispatchesBeforeAuthentication(Lines):
    def shake_hands(self, link: Link, secret: str, me: str) -> None:
        receive = link.receive

        def eager(limit: int | None = None) -> dict[str, Any]:
            while "call" in (frame := receive(limit)):
                self.answer(link, frame)
            return frame

        link.receive = eager  # type: ignore[method-assign]
        super().shake_hands(link, secret, me)
        link.receive = receive  # type: ignore[method-assign]


class DiesOfNoise(Lines):
    def serve(self, connection: socket.socket) -> None:
        link = self.make_link(connection)
        try:
            self.shake_hands(link, self.secret, "server")
        except Exception:  # noqa: BLE001
            link.drop()
            if self.listener is not None:
                self.listener.shutdown(socket.SHUT_RDWR)
            return
        link.read()


class GreetsOneAtATime(Lines):
    handshake = 1.0

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            link = self.make_link(connection)
            try:
                self.shake_hands(link, self.secret, "server")
            except Exception:  # noqa: BLE001
                link.drop()
            else:
                self.spawn(link.read)


class ShowsItsSecret(Lines):
    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.secret}>"


# -- who is who ----------------------------------------------------------------------------------------------


class ReturnsTheURI(Lines):
    def _connect(self, uri: str, secret: str) -> str:
        super()._connect(uri, secret)
        return uri


class IsOneSided(Lines):
    """Only the side that has connected may call."""

    def serve(self, connection: socket.socket) -> None:
        link = self.make_link(connection)
        link.call = self.refuse  # type: ignore[method-assign]
        try:
            self.shake_hands(link, self.secret, "server")
        except Exception:  # noqa: BLE001
            link.drop()
        else:
            link.read()

    def refuse(self, request: Request) -> object:
        raise ConnectionError("the other side calls, not this one")


class TakesCallersForPeers(Lines):
    """It tells its node of those that are no policies, too."""

    @classmethod
    def outbound(cls, **options: object) -> Self:
        return cls("its own")

    def invitation(self) -> Invitation | None:
        return None if self.uri is None else Invitation(self.uri, {})

    def peer_secret(self) -> str:
        return self.secret


class _Quiet:
    """A node that is told nothing of who joins and leaves."""

    def __init__(self, node: Node, *names: str) -> None:
        self._node = node
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name in self._names else getattr(self._node, name)


class TellsNobodyWhoJoined(Lines):
    patience = 3.0

    def _start(self, node: Node) -> None:
        super()._start(_Quiet(node, "peer_joined"))


class TellsNobodyWhoLeft(Lines):
    patience = 3.0

    def _start(self, node: Node) -> None:
        super()._start(_Quiet(node, "peer_left"))


class DropsTheLiveLine(Lines):
    """When one connection to a peer ends, it drops the peer."""

    def gone(self, link: Link) -> None:
        with self.lock:
            others = [other for other in self.links if other.peer == link.peer and other is not link]
        super().gone(link)
        for other in others:
            other.close()


class IsThereAfterStop(Lines):
    def _call(self, peer: str, request: Request) -> object:
        return None if self._node is None else super()._call(peer, request)

    def send_rpc(self, peer_id: str, path: Any, args: Any = (), kwargs: Any = None) -> object:
        try:
            return super().send_rpc(peer_id, path, args, kwargs)
        except ConnectionError:
            return None


# -- calls ---------------------------------------------------------------------------------------------------


class _Mixed(Link):
    def take(self, frame: dict[str, Any]) -> None:
        if "answer" in frame:
            frame["answer"] = min(self.waiting)
        super().take(frame)


class AnswersTheWrongCaller(Lines):
    def make_link(self, connection: socket.socket) -> Link:
        return _Mixed(self, connection)


class _OneByOne(Link):
    def take(self, frame: dict[str, Any]) -> None:
        if "call" in frame:
            self.protocol.answer(self, frame)
        else:
            super().take(frame)


class DoesOneCallAtATime(Lines):
    patience = 2.0

    def make_link(self, connection: socket.socket) -> Link:
        return _OneByOne(self, connection)


class LosesErrors(Lines):
    def _start(self, node: Node) -> None:
        dispatch = node.dispatch

        def quiet(peer: str, request: Request) -> object:
            with suppress(Exception):
                return dispatch(peer, request)
            return None

        super()._start(node)
        node.dispatch = quiet  # type: ignore[method-assign]


class FlattensErrors(Lines):
    def pack_error(self, error: BaseException) -> dict[str, Any]:
        return {**super().pack_error(error), "type": "PeerError"}


class LosesParts(Lines):
    def pack_error(self, error: BaseException) -> dict[str, Any]:
        return {**super().pack_error(error), "parts": {"dict": []}}


class EndsWithAMethod(Lines):
    """A method that calls sys.exit() ends the thread, and the caller waits."""

    patience = 0.5

    def pack_error(self, error: BaseException) -> dict[str, Any]:
        if not isinstance(error, Exception):
            raise error
        return super().pack_error(error)


class FollowsPaths(Lines):
    def answer(self, link: Link, frame: dict[str, Any]) -> None:
        found: Any = self.node
        for name in frame["path"]:
            found = getattr(found, name, None)
        if found is None:
            super().answer(link, frame)
        else:
            link.send({"answer": frame["call"], "result": str(found)})


class _Narrow(Link):
    def receive(self, limit: int | None = None) -> dict[str, Any]:
        return super().receive(1 << 20)


class BreaksOnLargeValues(Lines):
    def make_link(self, connection: socket.socket) -> Link:
        return _Narrow(self, connection)


class _Texts(Link):
    def send(self, frame: dict[str, Any]) -> None:
        def as_text(value: Any) -> Any:
            if isinstance(value, dict) and set(value) == {"bytes"}:
                return value["bytes"]
            if isinstance(value, dict):
                return {name: as_text(item) for name, item in value.items()}
            return [as_text(item) for item in value] if isinstance(value, list) else value

        super().send(as_text(frame))


class TakesBytesForText(Lines):
    def make_link(self, connection: socket.socket) -> Link:
        return _Texts(self, connection)


# -- the end -------------------------------------------------------------------------------------------------


class _Patient(Link):
    def drop(self) -> None:
        self.waiting = {}
        super().drop()


class LeavesCallsWaiting(Lines):
    patience = 4.0

    def make_link(self, connection: socket.socket) -> Link:
        return _Patient(self, connection)


class _Cheerful(Link):
    def drop(self) -> None:
        with self.lock:
            waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            future.set_result(None)
        super().drop()


class TakesAnEndForSuccess(Lines):
    def make_link(self, connection: socket.socket) -> Link:
        return _Cheerful(self, connection)


class HangsOnStop(Lines):
    patience = 3.0

    def _stop(self) -> None:
        super()._stop()
        threading.Event().wait()


class WaitsForMethods(Lines):
    patience = 3.0

    def _start(self, node: Node) -> None:
        super()._start(node)
        self.answering: list[Thread] = []

    def answer(self, link: Link, frame: dict[str, Any]) -> None:
        self.answering.append(threading.current_thread())
        super().answer(link, frame)

    def _stop(self) -> None:
        super()._stop()
        for thread in self.answering:
            thread.join()


class LeaksAThread(Lines):
    patience = 6.0

    def _start(self, node: Node) -> None:
        super()._start(node)
        Thread(target=threading.Event().wait, name="left behind", daemon=True).start()


class LeaksASocket(Lines):
    patience = 6.0

    def _start(self, node: Node) -> None:
        super()._start(node)
        self.left = socket.socket().detach()


class KeepsTheProgramAlive(Lines):
    patience = 10.0

    def spawn(self, fn: Any, *args: Any) -> None:
        Thread(target=fn, args=args).start()


class HarmsItsParent(Lines):
    """What a forked child closes is closed for its parent too."""

    def _stop(self) -> None:
        self.process = os.getpid()
        super()._stop()


class HangsInAForkedChild(Lines):
    patience = 12.0

    def _call(self, peer: str, request: Request) -> object:
        if self.process != os.getpid():
            threading.Event().wait()
        return super()._call(peer, request)


def _suite(made: type[Protocol]) -> type[ProtocolConformance]:
    class Suite(ProtocolConformance):
        patience = getattr(made, "patience", 60.0)

        @pytest.fixture
        def make_protocol(self) -> Callable[..., Protocol]:
            return made

    return Suite


for _made in list(globals().values()):
    if isinstance(_made, type) and issubclass(_made, Lines):
        globals()[f"Test{_made.__name__}"] = _suite(_made)
