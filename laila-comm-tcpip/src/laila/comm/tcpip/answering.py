"""The calls that a peer makes: each is dispatched to the node, and answered once."""

from __future__ import annotations

from collections import deque

from laila.comm.tcpip.codec import Packed, pack_failure, pack_value, split
from laila.comm.tcpip.deadlines import Deadlines
from laila.comm.tcpip.messages import Code, dump
from laila.comm.tcpip.outgoing import TooLong
from laila.comm.tcpip.params import SMALL, BadParamsError, failure, first_text, is_flat, weight
from laila.contract import Future, GroupFuture, Request, logger, said, wire
from laila.errors import LailaError, PeerError, PeerRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.comm.tcpip.background import Background
    from laila.comm.tcpip.events import Called
    from laila.comm.tcpip.messages import Message
    from laila.comm.tcpip.once import Once
    from laila.comm.tcpip.session import Data, Session
    from laila.contract import Node, Role

    Outcome = Future[Any] | GroupFuture[Any]

__all__ = ["Server"]

_MOST_AT_WORK = 64  # workers that one connection may use at a time, so that the others find some, too
_NOTHING = memoryview(b"")


class _Served:
    """One call of the peer, until it is answered."""

    __slots__ = ("begun", "data", "done", "future", "key", "leave", "message", "number")

    def __init__(self, message: Message, data: Data) -> None:
        self.message = message
        self.data = data
        self.number: int | str | object = object() if message.id is None else message.id
        self.future: Outcome | None = None
        self.done = False
        self.begun = False
        self.key: tuple[str, str] | None = None  # set if this call is done for its key
        self.leave: Callable[[], object] | None = None  # set while it waits for another call's answer

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it. A call with a key is still done, since the peer may ask again."""
        return self.done and self.key is None


class Server:
    """Answers the calls of one connection's peer. Belongs to the loop, unless a method says otherwise."""

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
        self._under_way: dict[int | str | object, _Served] = {}
        self._at_work = 0
        self._told = False
        self._to_do: deque[tuple[_Served, Callable[[], object]]] = deque()
        self._held: deque[_Served] = deque()  # wait until the peer has taken earlier answers
        self._deadlines = Deadlines(background.loop, self._too_late)
        session.admits = self._admits

    def _admits(self, message: Message) -> bool:
        """Whether the peer may call this; checked before the blobs of the call arrive."""
        try:
            self._check(message)
        except Exception:  # noqa: BLE001 - the peer gets this error when the call arrives
            return False
        return True

    def _check(self, message: Message) -> None:
        assert message.method is not None
        request = Request(message.method.split("."), first_text(message.params), role=self._role)
        self._node.check(self._peer, request)

    def called(self, event: Called) -> None:
        """Take a call in."""
        served = _Served(event.message, event.data)
        key = event.message.key
        self._under_way[served.number] = served
        if event.message.timeout is not None:
            self._deadlines.add(served, event.message.timeout)
        if key is not None and self._known:
            if not self._wait_for(served, (self._peer, key)):
                return
        self._start(served)

    def _wait_for(self, served: _Served, key: tuple[str, str]) -> bool:
        """Whether a call is the first with its key, and must be done."""
        if not self._once.has_room(key):
            error = PeerError("too many calls wait here: send fewer at a time", peer=self._peer)
            self._answer(served, pack_failure(error))
            return False

        def send(answer: object) -> None:
            self._answer(served, answer)

        first = self._once.begin(key, send, self._background.loop.time())
        if first:
            served.key = key
        else:
            served.leave = lambda: self._once.leave(key, send)
        return first

    def _start(self, served: _Served) -> None:
        # The role is checked before anything of the arguments is looked at.
        try:
            self._check(served.message)
        except Exception as error:  # noqa: BLE001 - any error is the answer
            self._tell_of_refusal(error)
            self._finish(served, pack_failure(error))
            return
        if self._is_full:
            if len(self._held) >= 2 * self._session.limits.max_in_flight:
                # Calls that were cancelled do not count as in flight any more.
                self._held = deque(held for held in self._held if not held.is_over)
            self._held.append(served)
        else:
            self._begin(served)

    def _tell_of_refusal(self, error: Exception) -> None:
        if not self._told and isinstance(error, PeerRefusedError):
            self._told = True  # logged once a connection, so that repeated tries fill no disk
            logger("laila.comm.tcpip").warning("a call of %s was refused: %s", self._peer, said(error))

    @property
    def _is_full(self) -> bool:
        return 2 * self._session.outgoing > self._session.limits.max_buffered_bytes

    @property
    def holds(self) -> bool:
        """Whether calls wait until answers have been taken, and could begin now."""
        return bool(self._held) and not self._is_full

    def taken(self) -> None:
        """The peer took part of an answer: there may be room for the next calls."""
        while self._held and not self._is_full:
            served = self._held.popleft()
            if not served.is_over:
                self._begin(served)

    def _begin(self, served: _Served) -> None:
        # The loop only does calls that are small, need no decoding and never wait; the node says which never
        # wait.
        request: Request | None = None
        if len(served.data) <= SMALL and is_flat(served.message.params):
            try:
                request = self._request(served)
            except Exception as error:  # noqa: BLE001 - the peer's bytes cannot be read: that is the answer
                self._finish(served, failure(error))
                return
            if self._node.non_blocking(request):
                served.begun = True
                self._dispatch(served, request)
                return
        self._submit(served, lambda: self._work(served, request))

    def _submit(self, served: _Served, work: Callable[[], object]) -> None:
        """On the loop: give the work to a worker, now or when one of this connection's workers is free."""
        if self._at_work >= _MOST_AT_WORK:
            if len(self._to_do) >= 2 * self._session.limits.max_in_flight:
                self._to_do = deque(waiting for waiting in self._to_do if not waiting[0].is_over)
            self._to_do.append((served, work))
            return
        self._at_work += 1

        def run() -> None:
            try:
                work()
            finally:
                self._background.soon(self._worked)

        self._background.workers.submit(run)

    def _worked(self) -> None:
        self._at_work -= 1
        if self._to_do:
            self._submit(*self._to_do.popleft())

    def _work(self, served: _Served, request: Request | None) -> None:
        """In a worker: read the arguments if that was not done yet, and dispatch."""
        if served.is_over:
            return
        served.begun = True
        try:
            if request is None:
                request = self._request(served)
        except Exception as error:  # noqa: BLE001 - the peer's bytes cannot be read: that is the answer
            self._later(served, failure(error))
            return
        self._dispatch(served, request)

    def _request(self, served: _Served) -> Request:
        message = served.message
        try:
            args, kwargs = wire.unpack_call(message.params, split(served.data, message.sizes))
        except LailaError:
            raise
        except ValueError as error:
            raise BadParamsError(f"{message.method}: {said(error)}") from error
        assert message.method is not None
        return Request(message.method.split("."), args, kwargs, role=self._role, timeout=message.timeout)

    def _dispatch(self, served: _Served, request: Request) -> None:
        """Run the call, on the loop or in a worker."""
        try:
            result = self._node.dispatch(self._peer, request)
        except BaseException as error:  # noqa: BLE001 - any error is the outcome of the call
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
        """Take the outcome, in any thread that settles the future."""
        error = future.exception
        if error is not None:
            self._later(served, pack_failure(error))
        else:
            self._reply(served, future.wait())

    def _reply(self, served: _Served, value: object) -> None:
        """Pack the value in the calling thread, and answer on the loop."""
        if served.is_over:
            return
        if self._background.here and weight(value) > SMALL:
            self._submit(served, lambda: self._reply(served, value))
            return
        try:
            packed = pack_value(value)
            if packed.nbytes > self._session.offer.max_message_bytes:
                raise PeerError(
                    f"the answer has {packed.nbytes} bytes, and the caller takes "
                    f"{self._session.offer.max_message_bytes}: ask for less at a time",
                    peer=self._peer,
                )
        except Exception as error:  # noqa: BLE001 - a result that cannot be sent becomes an error
            packed = pack_failure(error)
        self._later(served, packed)

    def _room_for(self, packed: Packed) -> Packed:
        """Return an answer that may be sent: an error if answers that nobody takes fill the room."""
        session = self._session
        full = session.outgoing + packed.nbytes > session.limits.max_buffered_bytes
        if session.outgoing and (full or session.room.refuses(session, packed.nbytes)):
            return pack_failure(
                PeerError(
                    f"answers of {session.outgoing} bytes were not taken, and this one has {packed.nbytes}: "
                    "ask for less at a time",
                    peer=self._peer,
                )
            )
        return packed

    def _later(self, served: _Served, packed: Packed) -> None:
        if self._background.here:
            self._finish(served, packed)
        else:
            self._background.soon(self._finish, served, packed)

    def _finish(self, served: _Served, packed: Packed) -> None:
        if served.key is not None:
            kept, size = packed, packed.nbytes + len(dump({"result": packed.tree, "error": packed.error}))
            if size > SMALL:
                size = 0
                kept = pack_failure(
                    PeerError("it was done, and its answer was too large to keep", peer=self._peer)
                )
            self._once.end(served.key, packed, self._background.loop.time(), kept=kept, nbytes=size)
        else:
            self._answer(served, packed)

    def _answer(self, served: _Served, packed: object) -> None:
        if served.done:
            return
        self._close(served)
        number = served.message.id
        if number is None:
            self._session.over(served.message.nbytes)
            return
        if self._ended:
            return
        assert isinstance(packed, Packed)
        packed = self._room_for(packed)
        if packed.error is None:
            try:
                self._session.answer(number, packed.tree, packed.parts, packed.sizes)
            except TooLong as error:
                packed = pack_failure(
                    PeerError(f"the answer has {error}: ask for less at a time", peer=self._peer)
                )
        if packed.error is not None:
            self._session.answer_error(number, *packed.error)
        self._flush()

    def _close(self, served: _Served) -> None:
        served.done = True
        if served.is_over:
            served.message = served.message._replace(params=None)
        self._deadlines.discard(served)
        self._under_way.pop(served.number, None)
        if len(served.data):
            self._session.done(served.data)
            served.data = _NOTHING

    def _too_late(self, served: _Served) -> None:
        self._drop(
            served, Code.TIMED_OUT, f"{served.message.method} took longer than {served.message.timeout:g} s"
        )

    def cancelled(self, number: int | str) -> None:
        """The peer no longer waits for an answer: a call that has not started is not done."""
        served = self._under_way.get(number)
        if served is not None:
            self._drop(served, Code.CANCELLED, f"{served.message.method} was cancelled")

    def _drop(self, served: _Served, code: int, message: str) -> None:
        if served.done:
            return
        packed = Packed(None, error=(code, message, None))
        key = served.key
        if served.leave is not None:
            served.leave()
        if key is None or served.begun:
            self._answer(served, packed)  # before what cancelling answers
        else:  # nor will it be done for its key
            served.key = None
            self._once.end(key, packed, self._background.loop.time(), kept=packed)
        if served.future is not None:
            served.future.cancel()

    def end(self) -> None:
        """The connection is gone: nobody waits for running calls."""
        self._ended = True
        for served in list(self._under_way.values()):
            if served.key is None:  # the peer may ask again for an answer with a key
                if served.future is not None:
                    served.future.cancel()
                if served.leave is not None:
                    served.leave()
                self._close(served)
        held, self._held = self._held, deque()
        self._to_do = deque(waiting for waiting in self._to_do if not waiting[0].is_over)
        for served in held:
            if not served.is_over:
                self._begin(served)
        self._deadlines.end()
