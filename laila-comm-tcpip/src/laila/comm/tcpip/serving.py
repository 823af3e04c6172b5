"""The calls that a peer makes: each is dispatched to the node, and answered once."""

from __future__ import annotations

from laila.comm.tcpip.codec import Packed, pack_failure, pack_value, split
from laila.comm.tcpip.deadlines import Deadlines
from laila.comm.tcpip.messages import Code
from laila.contract import Blob, Future, GroupFuture, Request, said
from laila.contract.wire import unpack_call
from laila.errors import InvalidArgumentError, LailaError, PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.messages import Message
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.session import Called, Data, Session
    from laila.contract import Node, Role

    Outcome = Future[Any] | GroupFuture[Any]

__all__ = ["Server"]

_SMALL = 64 * 1024
_NOTHING = memoryview(b"")


class _Served:
    """One call of the peer's, until it is answered."""

    __slots__ = ("data", "done", "future", "key", "message")

    def __init__(self, message: Message, data: Data) -> None:
        self.message = message
        self.data = data
        self.future: Outcome | None = None
        self.done = False
        self.key: tuple[str, str] | None = None


class Server:
    """What one connection has of its peer's calls. Belongs to the loop, but for what says otherwise."""

    def __init__(
        self,
        session: Session,
        background: Background,
        node: Node,
        *,
        peer: str,
        known: bool,
        role: Role,
        once: Once,
        flush: Callable[[], object],
    ) -> None:
        self._session = session
        self._background = background
        self._node = node
        self._peer = peer
        self._known = known
        self._role = role
        self._once = once
        self._flush = flush
        self._ended = False
        self._under_way: dict[int | str, _Served] = {}
        self._deadlines = Deadlines(background.loop, self._too_late)

    def called(self, event: Called) -> None:
        """Take a call in."""
        served = _Served(event.message, event.data)
        number, key = event.message.id, event.message.key
        if number is not None:
            self._under_way[number] = served
        if event.message.timeout is not None:
            self._deadlines.add(served, event.message.timeout)
        if key is not None and self._known:
            served.key = (self._peer, key)
            now = self._background.loop.time()
            if not self._once.begin(served.key, lambda answer: self._answer(served, answer), now):
                return  # it was done, or is being done, for the first of its kind
        self._start(served)

    def _start(self, served: _Served) -> None:
        # On the loop only what is small and never waits; whether it may is the node's to say.
        request: Request | None = None
        if len(served.data) <= _SMALL:
            try:
                request = self._request(served, trusting=False)
            except Exception as error:  # noqa: BLE001 - what the peer sent cannot be taken: its answer
                self._finish(served, pack_failure(error))
                return
            if request is not None and self._node.prompt(request):
                self._dispatch(served, request)
                return
        self._background.workers.submit(lambda: self._work(served, request))

    def _work(self, served: _Served, request: Request | None) -> None:
        """In a worker: read the arguments where that was not done, and dispatch."""
        try:
            if request is None:
                request = self._request(served, trusting=True)
                assert request is not None
        except Exception as error:  # noqa: BLE001 - what the peer sent cannot be taken: its answer
            self._later(served, pack_failure(error))
            return
        self._dispatch(served, request)

    def _request(self, served: _Served, *, trusting: bool) -> Request | None:
        """Read a call. Without ``trusting`` None for one with signed blobs: decoding them may run code."""
        message = served.message
        blobs = split(served.data, message.sizes)
        if blobs and not trusting and any(blob.signature is not None for blob in blobs):
            return None
        try:
            args, kwargs = unpack_call(message.params, blobs)
        except LailaError:
            raise
        except ValueError as error:
            raise InvalidArgumentError(f"{message.method}: {said(error)}") from error
        assert message.method is not None
        return Request(message.method.split("."), args, kwargs, role=self._role, timeout=message.timeout)

    def _dispatch(self, served: _Served, request: Request) -> None:
        """On the loop or in a worker."""
        try:
            result = self._node.dispatch(self._peer, request)
        except BaseException as error:  # noqa: BLE001 - the outcome of the call, whatever it is
            self._later(served, pack_failure(error))
            return
        if not isinstance(result, (Future, GroupFuture)):
            self._reply(served, result)
        elif result.finished():
            self._reply(served, result.wait())
        else:
            served.future = result
            for status in ("finished", "error", "cancelled"):
                result.add_callback(status, lambda future: self._settled(served, future))
            if served.done:  # cancelled a moment before
                result.cancel()

    def _settled(self, served: _Served, future: Outcome) -> None:
        """In whatever thread settles the future."""
        error = future.exception
        if error is not None:
            self._later(served, pack_failure(error))
        else:
            self._reply(served, future.wait())

    def _reply(self, served: _Served, value: object) -> None:
        """In any thread: pack the value there, and answer on the loop."""
        if served.done:
            return
        if self._background.here and _weight(value) > _SMALL:
            self._background.workers.submit(lambda: self._reply(served, value))
            return
        try:
            packed = pack_value(value)
            if packed.nbytes > self._session.offer.max_message_bytes:
                raise PeerError(
                    f"the answer has {packed.nbytes} bytes, and the one who asked takes "
                    f"{self._session.offer.max_message_bytes}: ask for less at a time",
                    peer=self._peer,
                )
        except Exception as error:  # noqa: BLE001 - a result that cannot be sent is the outcome
            packed = pack_failure(error)
        self._later(served, packed)

    def _later(self, served: _Served, packed: Packed) -> None:
        if self._background.here:
            self._finish(served, packed)
        else:
            self._background.soon(self._finish, served, packed)

    def _finish(self, served: _Served, packed: Packed) -> None:
        if served.key is not None:
            kept = packed
            if packed.nbytes > _SMALL:
                kept = pack_failure(
                    PeerError("it was done, and its answer was too large to keep", peer=self._peer)
                )
            self._once.end(served.key, packed, self._background.loop.time(), kept=kept)
        else:
            self._answer(served, packed)

    def _answer(self, served: _Served, packed: object) -> None:
        if served.done:
            return
        self._close(served)
        number = served.message.id
        if number is None or self._ended:
            return
        assert isinstance(packed, Packed)
        if packed.error is not None:
            self._session.answer_error(number, *packed.error)
        else:
            self._session.answer(number, packed.tree, packed.parts, packed.sizes)
        self._flush()

    def _close(self, served: _Served) -> None:
        served.done = True
        self._deadlines.discard(served)
        if served.message.id is not None:
            self._under_way.pop(served.message.id, None)
        if len(served.data):
            self._session.done(served.data)
            served.data = _NOTHING

    def _too_late(self, served: _Served) -> None:
        self._drop(
            served, Code.TIMED_OUT, f"{served.message.method} took longer than {served.message.timeout:g} s"
        )

    def cancelled(self, number: int | str) -> None:
        """The peer does not wait for an answer any more: what has not started is not done."""
        served = self._under_way.get(number)
        if served is not None:
            self._drop(served, Code.CANCELLED, f"{served.message.method} was cancelled")

    def _drop(self, served: _Served, code: int, message: str) -> None:
        if served.done:
            return
        self._answer(served, Packed(None, error=(code, message, None)))  # before what cancelling answers
        if served.future is not None:
            served.future.cancel()

    def end(self) -> None:
        """The connection is gone: nobody waits for what is under way."""
        self._ended = True
        for served in list(self._under_way.values()):
            if served.key is None:  # under a key the answer may be asked for again
                if served.future is not None:
                    served.future.cancel()
                self._close(served)
        self._deadlines.end()


def _weight(value: object) -> int:
    """The bytes of the buffers in a value, as far as a look shows them."""
    if isinstance(value, list):
        return sum(_weight(item) for item in value)
    return value.content_nbytes if isinstance(value, Blob) else 0
