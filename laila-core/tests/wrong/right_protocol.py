"""A protocol that is short and keeps its contract: what those of wrong_protocols.py are made from.

JSON frames with their length before them, over TCP; a thread reads each connection, and each call that
arrives has one of its own. Both sides show by an HMAC over fresh numbers that they know the secret. It is a
test's: the secret is not stretched, nothing is encrypted, and a frame has no limit once a peer is let in.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import socket
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any

from laila import errors
from laila.contract import Blob, Node, Protocol, Request
from laila.errors import LailaError, PayloadError, PeerDisconnectedError, PeerError, SettingsError

MALFORMED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, LailaError)
"""What comes of a connection that ends, and of bytes that are no frame."""
_LONGEST_HELLO = 4096


class Lines(Protocol):
    """See the module."""

    schemes = ("lines",)
    handshake = 5.0
    """Seconds for a handshake."""

    def __init__(
        self, secret: str, host: str = "127.0.0.1", port: int = 0, nickname: str | None = None
    ) -> None:
        super().__init__(nickname=nickname)
        self.secret, self.host, self.port = secret, host, port
        self.lock = Lock()
        self.begin()

    def begin(self) -> None:
        """Have no connection and no thread."""
        self.process = os.getpid()
        self.listener: socket.socket | None = None
        self.greeting: list[Link] = []  # not let in yet
        self.links: list[Link] = []
        self.threads: list[Thread] = []

    @property
    def uri(self) -> str | None:
        if self.listener is None:
            return None
        return f"lines://{self.host}:{self.listener.getsockname()[1]}"

    def _start(self, node: Node) -> None:
        self.begin()
        self.node = node
        self.listener = socket.create_server((self.host, self.port))
        self.spawn(self.accept, self.listener)

    def spawn(self, fn: Any, *args: Any) -> None:
        """Run a function in a thread that ``stop`` waits for."""
        thread = Thread(target=fn, args=args, daemon=True)
        with self.lock:
            self.threads = [one for one in self.threads if one.is_alive() or one.ident is None]
            self.threads.append(thread)
        thread.start()

    def _stop(self) -> None:
        if self.listener is None:
            return
        if self.process == os.getpid():
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            links, threads = self.greeting + self.links, self.threads[:]
        for link in links:
            link.close()
        if self.process == os.getpid():
            for thread in threads:
                if thread is not current_thread():
                    thread.join(1.0)

    def make_link(self, connection: socket.socket) -> Link:
        """What reads and writes a connection."""
        return Link(self, connection)

    # -- connecting ------------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Let others in, each in a thread of its own: one who says nothing holds up nobody."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.spawn(self.serve, connection)

    def serve(self, connection: socket.socket) -> None:
        """Let one in, and read what it sends."""
        link = self.make_link(connection)
        try:
            self.shake_hands(link, self.secret, "server")
        except MALFORMED:
            link.drop()
            return
        link.read()

    def _connect(self, uri: str, secret: str) -> str:
        if self._node is None or self.process != os.getpid():
            raise PeerError(f"{self!r} was not started here", peer=uri)
        if not secret:
            raise SettingsError("a secret is a text of at least one character", option="secret")
        host, _, port = uri.partition("://")[2].rpartition(":")
        try:
            number = int(port)
        except ValueError:
            raise SettingsError(f"{uri!r} is no URI such as lines://127.0.0.1:1234", option="uri") from None
        try:
            link = self.make_link(socket.create_connection((host, number), self.handshake))
        except OSError as error:
            raise PeerError(f"{uri} cannot be reached: {error}", peer=uri) from error
        try:
            self.shake_hands(link, secret, "client")
        except MALFORMED as error:
            link.drop()
            raise PeerError(f"{uri} has refused, or is no peer", peer=uri) from error
        self.spawn(link.read)
        return link.peer

    def shake_hands(self, link: Link, secret: str, me: str) -> None:
        """Show each other who knows the secret; raises ValueError where the other side does not."""
        other = "client" if me == "server" else "server"
        with self.lock:
            if self._node is None:
                raise ValueError("stopped meanwhile")
            self.greeting.append(link)
        link.socket.settimeout(self.handshake)
        mine = {"id": self.node.policy_id, "nonce": secrets.token_hex(16)}
        link.send(self.hello(mine, secret))
        theirs = link.receive(_LONGEST_HELLO)
        both = {me: mine, other: theirs}
        link.send({"proof": self.proof(secret, me, both)})
        if not hmac.compare_digest(link.receive(_LONGEST_HELLO)["proof"], self.proof(secret, other, both)):
            raise ValueError("a wrong secret")
        link.peer = str(theirs["id"])
        link.socket.settimeout(None)
        with self.lock:
            self.greeting.remove(link)
            self.links.append(link)
        self.node.peer_joined(link.peer, self)
        # Nobody is asked anything before both have told their nodes.
        link.send({"ready": True})
        link.receive(_LONGEST_HELLO)

    def hello(self, mine: dict[str, Any], secret: str) -> dict[str, Any]:
        """What is said first."""
        return mine

    def proof(self, secret: str, who: str, both: dict[str, Any]) -> str:
        """What shows that ``who`` knows the secret, in this handshake and in no other."""
        said = json.dumps(
            [who, [both[side][part] for side in ("client", "server") for part in ("id", "nonce")]]
        )
        return hmac.new(secret.encode(), said.encode(), "sha256").hexdigest()

    # -- calls -----------------------------------------------------------------------------------------------

    def _call(self, peer: str, request: Request) -> object:
        with self.lock:
            known = [link for link in self.links if link.peer == peer]
        if self._node is None or self.process != os.getpid() or not known:
            raise PeerError(f"{peer} is not connected; connect with add_peer(…)", peer=peer)
        return known[-1].call(request)

    def answer(self, link: Link, frame: dict[str, Any]) -> None:
        """Have the node do what a peer asks, and say what came of it."""
        answer: dict[str, Any] = {"answer": frame["call"]}
        try:
            request = Request(frame["path"], unpack(frame["args"]), unpack(frame["kwargs"]))
            answer["result"] = pack(self.node.dispatch(link.peer, request))
        except BaseException as error:  # noqa: BLE001 - whatever the method raises is its outcome
            answer["error"] = self.pack_error(error)
        with suppress(OSError):
            link.send(answer)

    def pack_error(self, error: BaseException) -> dict[str, Any]:
        """An error as JSON."""
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ in {errors.__name__, "builtins"})
        if not issubclass(kind, LailaError):
            return {"type": "PeerError", "message": f"{type(error).__name__}: {error}", "parts": pack({})}
        return {"type": kind.__name__, "message": str(error), "parts": pack(vars(error))}

    def gone(self, link: Link) -> None:
        """A connection has ended: its calls fail, and the node is told when it was the last to that peer."""
        with self.lock:
            if link in self.greeting:
                self.greeting.remove(link)
            if link not in self.links:
                return
            self.links.remove(link)
            last = all(other.peer != link.peer for other in self.links)
        if last:
            self.node.peer_left(link.peer, self)


class Link:
    """One connection to a peer that was let in."""

    def __init__(self, protocol: Lines, connection: socket.socket) -> None:
        self.protocol = protocol
        self.socket = connection
        self.file = connection.makefile("rb")
        self.peer = ""
        self.waiting: dict[int, Future[Any]] = {}
        self.lock = Lock()
        self.sending = Lock()
        self.closed = False
        self.count = 0

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame, whole."""
        data = json.dumps(frame).encode()
        with self.sending:
            self.socket.sendall(len(data).to_bytes(8, "big") + data)

    def receive(self, limit: int | None = None) -> dict[str, Any]:
        """Wait for one frame; raises EOFError where there will be none."""
        head = self.file.read(8)
        count = int.from_bytes(head, "big")
        if limit is not None and count > limit:
            raise ValueError("a frame that is too long")
        data = self.file.read(count)
        if len(head) < 8 or len(data) < count:
            raise EOFError
        frame: dict[str, Any] = json.loads(data)
        return frame

    def call(self, request: Request) -> object:
        """Send a request and wait for its answer."""
        frame = {"path": request.path, "args": pack(list(request.args)), "kwargs": pack(request.kwargs)}
        future: Future[Any] = Future()
        with self.lock:
            if self.closed:
                raise self.disconnected()
            self.count += 1
            number = self.count
            self.waiting[number] = future
        try:
            self.send({"call": number, **frame})
        except OSError as error:
            raise self.disconnected() from error
        return future.result()

    def read(self) -> None:
        """Read until the connection ends."""
        try:
            while True:
                self.take(self.receive())
        except MALFORMED:
            self.drop()

    def take(self, frame: dict[str, Any]) -> None:
        """Deal with one frame."""
        if "call" in frame:
            # Not waited for at the end: nobody knows how long a method takes.
            Thread(target=self.protocol.answer, args=(self, frame), daemon=True).start()
            return
        told = frame.get("error")
        result = error = None
        if told is None:
            result = unpack(frame["result"])
        else:
            kind = getattr(errors, told["type"]) if told["type"] in errors.__all__ else PeerError
            error = kind(told["message"], **unpack(told["parts"]))
        with self.lock:
            future = self.waiting.pop(frame["answer"])
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def close(self) -> None:
        """End the connection, whose reader then drops it; in a forked child the parent keeps it."""
        if self.protocol.process == os.getpid():
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        else:
            self.socket.close()

    def drop(self) -> None:
        """The connection has ended."""
        with self.lock:
            self.closed = True
            waiting, self.waiting = self.waiting, {}
        self.file.close()
        self.socket.close()
        for future in waiting.values():
            future.set_exception(self.disconnected())
        self.protocol.gone(self)

    def disconnected(self) -> PeerDisconnectedError:
        return PeerDisconnectedError(f"the connection to {self.peer} ended", peer=self.peer)


def pack(value: object) -> Any:
    """A value as JSON: bytes, blobs and dicts are named lists."""
    if isinstance(value, Blob):
        return {"blob": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {"dict": [[str(name), pack(item)] for name, item in value.items()]}
    if isinstance(value, list | tuple):
        return [pack(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise PayloadError(f"a {type(value).__name__} cannot be sent", path="$")


def unpack(value: Any) -> Any:
    """What :func:`pack` made ``value`` of."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {name: unpack(item) for name, item in content}
    data = base64.b64decode(content)
    return data if kind == "bytes" else Blob.from_bytes(data)
