"""One connection after its handshake, as a pure object: messages in, events and messages out. Does no I/O.

Either side may call the other. Calls run at the same time and are answered in any order. A large message goes
as a stream of chunks, and small messages pass between them. The caller of a session feeds it received
messages (:meth:`Session.receive_text`, :meth:`Session.receive_binary`), takes its :attr:`Session.events`, and
sends the messages of :meth:`Session.next_message` until that is None. Not thread-safe: it belongs to one
event loop.
"""

from __future__ import annotations

from collections import deque

from laila.comm.tcpip.events import Answered, Called, Cancelled, Unread
from laila.comm.tcpip.limits import CHUNK_BYTES
from laila.comm.tcpip.messages import (
    BLOBS,
    EXTENSION,
    JSON,
    SMALL_TEXT,
    BadMessage,
    Code,
    Message,
    dump,
    parse,
    parse_chunk,
)
from laila.comm.tcpip.outgoing import SURELY_SHORT, Outgoing, TooLong, length_of, may_be_long
from laila.comm.tcpip.room import room
from laila.comm.tcpip.streams import InStream, OutStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from laila.comm.tcpip.limits import Limits, Offer
    from laila.comm.tcpip.room import Room
    from laila.comm.tcpip.streams import Part

    Data = bytearray | memoryview

__all__ = ["Session"]


CREDIT, CANCEL = "laila.credit", "laila.cancel"
_MAX_FAULTS = 16
_SPARE = 100  # bytes that the member `laila` adds to a message with a stream, without the sizes of its blobs
_A_SIZE = 12  # bytes that one such size adds, about
_TEXTS_TAKEN, _TEXTS_SENT = 4, 2
"""The bound for long texts of unanswered calls, in longest JSON texts: both those taken and those sent."""
_NOTHING = memoryview(b"")


class Session:
    """The state of one connection after its handshake. ``limits`` are this side's, ``offer`` the other's.

    The work in progress never exceeds this side's own limits, because it costs memory here. What the other
    side says of itself does not matter.
    """

    def __init__(self, limits: Limits, offer: Offer, room: Room = room) -> None:
        self.limits = limits
        self.room = room
        room.add(self)
        self.offer = offer._replace(
            max_streams=min(offer.max_streams, limits.max_streams),
            window_bytes=min(offer.window_bytes, limits.window_bytes),
        )
        self._longest_text = min(limits.max_json_bytes, 4 * CHUNK_BYTES)
        self.events: deque[Called | Answered | Cancelled | Unread] = deque()
        self.admits: Callable[[Message], bool] = lambda _: True
        """Whether a call will be done at all: the blobs of other calls are dropped when they arrive."""
        self.buffered = 0  # bytes of messages that are arriving or not handled yet
        self._whole = 0  # the part of them that belongs to whole messages
        self._faults = 0
        self.outgoing = 0
        """Bytes of answers that the other side has not taken, whether they have begun or wait."""
        # Outgoing: texts go first, then chunks, one of each stream in turn.
        self._texts: deque[tuple[str, int | str | None]] = deque()
        self._sending: deque[OutStream] = deque()  # streams with credit
        self._streams: dict[int, OutStream] = {}
        self._follow: dict[int, OutStream] = {}
        self._answered: dict[int, tuple[int | str, int]] = {}  # by its last stream: the call, and its bytes
        self._waiting: deque[Outgoing] = deque()
        self._open = 0  # messages that are being sent as streams
        self._next_stream = 0
        # Calls of this side.
        self._next_call = 0
        self._calls: dict[int, int] = {}  # with the bytes of its text, if that is long
        self._texts_sent = 0  # the sum of these bytes
        self._held: deque[tuple[int, Outgoing]] = deque()
        # Calls of the other side. A call counts until the last byte of its answer is on its way; a call that
        # wants no answer counts until it is done.
        self._serving: dict[int | str, int] = {}  # with the bytes of its text, if that is long
        self._unnumbered = 0
        self._texts_taken = 0  # the sum of these bytes for calls without an answer
        # Streams of the other side.
        self._arriving: dict[int, InStream] = {}

    # -- calls of this side ----------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        params: object,
        parts: Sequence[Part] = (),
        sizes: Sequence[int] = (),
        *,
        timeout: float | None = None,
        key: str | None = None,
    ) -> int:
        """Send a call and return its number. The call waits here while the other side is full.

        Raises :class:`TooLong`.
        """
        number = self._next_call
        self._next_call += 1
        extension: dict[str, object] = {}
        if timeout is not None:
            extension["timeout"] = timeout
        if key is not None:
            extension["key"] = key
        head: dict[str, object] = {"id": number, "method": method, "params": params}
        if extension:
            head[EXTENSION] = extension
        self._held.append((number, Outgoing(head, parts, sizes, None, self._check_length(head, sizes))))
        self._release_calls()
        return number

    def _release_calls(self) -> None:
        room = _TEXTS_SENT * self.offer.max_json_bytes
        while self._held and len(self._calls) < self.offer.max_in_flight:
            number, message = self._held[0]
            if self._texts_sent and self._texts_sent + message.nbytes > room:
                return
            del self._held[0]
            self._calls[number] = message.nbytes
            self._texts_sent += message.nbytes
            self._post(message)

    def cancel(self, number: int) -> None:
        """Tell the other side that nobody waits for this call. The call ends when the other side answers."""
        if number in self._calls:
            self._post(Outgoing({"method": CANCEL, "params": {"id": number}}, (), (), None))
        else:
            self._held = deque(held for held in self._held if held[0] != number)

    # -- answers of this side --------------------------------------------------------------------------------

    def answer(
        self, to: int | str, result: object, parts: Sequence[Part] = (), sizes: Sequence[int] = ()
    ) -> None:
        """Answer a call, once. Raises :class:`TooLong`."""
        head: dict[str, object] = {"id": to, "result": result}
        self._check_length(head, sizes)
        self._was_read(to)
        self._post(Outgoing(head, parts, sizes, to))

    def _check_length(self, head: dict[str, object], sizes: Sequence[int]) -> int:
        # A text that is short by far is not written twice to find that out.
        if len(sizes) * _A_SIZE < SURELY_SHORT and not may_be_long(head):
            return 0
        size = len(dump(head)) + len(sizes) * _A_SIZE
        if size > self.offer.max_json_bytes - _SPARE:
            raise TooLong(f"{size} bytes of JSON, and the other side takes {self.offer.max_json_bytes}")
        return size

    def _was_read(self, call: int | str) -> None:
        """Stop counting the text of ``call``: it has its answer."""
        if self._texts_taken and (size := self._serving.get(call)):
            self._texts_taken -= size
            self._serving[call] = 0

    def over(self, nbytes: int = 0) -> None:
        """Say that a call that wanted no answer, and had a text of ``nbytes``, is done."""
        self._unnumbered -= 1
        self._texts_taken -= nbytes

    def answer_error(self, to: int | str, code: int, message: str, data: object = None) -> None:
        """Answer a call by an error."""
        error: dict[str, object] = {"code": code, "message": message}
        if data is not None:
            error["data"] = data
        self._was_read(to)
        self._post(Outgoing({"id": to, "error": error}, (), (), to))

    def done(self, data: Data) -> None:
        """Say that a message was handled: its blobs take no more room here."""
        self.buffered -= len(data)
        self._whole -= len(data)
        if self._arriving:
            self._grant_all()

    @property
    def held(self) -> int:
        """Bytes that this session keeps in memory: what was not dealt with, and what was not taken."""
        return self.buffered + self.outgoing

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not (self._texts or self._sending)

    # -- out -------------------------------------------------------------------------------------------------

    def _post(self, message: Outgoing) -> None:
        if not message.sizes:
            text = dump(message.head)
            if len(text) <= CHUNK_BYTES:
                if message.answers is not None:
                    self.outgoing += len(text)
                self._texts.append((text, message.answers))
                return
        if message.answers is not None:
            message = message._replace(nbytes=length_of(message))
            self.outgoing += message.nbytes
        if self._waiting or self._open >= self.offer.max_streams:
            self._waiting.append(message)
        else:
            self._begin(message)

    def _begin(self, message: Outgoing) -> None:
        self._open += 1
        blobs: OutStream | None = None
        head = message.head
        if message.sizes:
            blobs = self._new_stream(BLOBS, message.parts)
            extension = head.setdefault(EXTENSION, {})
            assert isinstance(extension, dict)
            extension.update(stream=blobs.number, sizes=list(message.sizes))
        text = dump(head)
        if len(text) > CHUNK_BYTES:
            # The text itself goes in chunks, and the blobs after it.
            stream = self._new_stream(JSON, [text.encode()])
            if blobs is not None:
                self._follow[stream.number] = blobs
            self._sending.append(stream)
        else:
            assert blobs is not None
            stream = blobs
            self._texts.append((text, None))
            self._sending.append(blobs)
        if message.answers is not None:
            self._answered[(blobs or stream).number] = (message.answers, message.nbytes)

    def _new_stream(self, kind: int, parts: Sequence[Part]) -> OutStream:
        stream = OutStream(self._next_stream, kind, parts, self.offer.window_bytes)
        self._next_stream += 1
        self._streams[stream.number] = stream
        return stream

    def next_message(self) -> str | bytes | None:
        """Return the next message to send, or None if there is none or no credit."""
        if self._texts:
            text, answers = self._texts.popleft()
            if answers is not None:
                self._serving.pop(answers, None)
                self.outgoing -= len(text)
            return text
        if not self._sending:
            return None
        stream = self._sending.popleft()
        chunk = stream.chunk()
        if not stream.left:
            self._ended(stream)
        elif stream.credit:
            self._sending.append(stream)
        return chunk

    def _ended(self, stream: OutStream) -> None:
        del self._streams[stream.number]
        blobs = self._follow.pop(stream.number, None)
        if blobs is not None:
            self._sending.append(blobs)
            return
        answered, size = self._answered.pop(stream.number, (None, 0))
        if answered is not None:
            self._serving.pop(answered, None)
        self.outgoing -= size
        self._open -= 1
        while self._waiting and self._open < self.offer.max_streams:
            self._begin(self._waiting.popleft())

    # -- in --------------------------------------------------------------------------------------------------

    def receive_text(self, text: str) -> None:
        """Read a text message. Raises :class:`BadMessage` if the connection must end."""
        try:
            if len(text) > self._longest_text:
                raise BadMessage("a text message of this length goes as a stream", fatal=True)
            if len(text) > SMALL_TEXT:
                self.events.append(Unread(text, self.limits.max_depth))
            else:
                self._take(parse(text, self.limits.max_depth))
        except BadMessage as bad:
            self._fault(bad)

    def receive_read(self, message: Message | BadMessage) -> None:
        """Take the result of an :class:`Unread`. Raises :class:`BadMessage` if the connection must end."""
        if isinstance(message, BadMessage):
            self._fault(message)
            return
        try:
            self._take(message)
        except BadMessage as bad:
            self._fault(bad)

    def _fault(self, bad: BadMessage) -> None:
        self._faults += 1
        if bad.fatal or self._faults > _MAX_FAULTS:
            raise bad
        error = {"code": bad.code, "message": str(bad)}
        self._texts.append((dump({"id": None, "error": error}), None))

    def _take(self, message: Message) -> None:
        if message.method in (CREDIT, CANCEL):
            self._control(message)
            return
        if message.method is None:
            number = message.id
            if number is None:
                return  # the other side comments on a wrong message of ours
            if type(number) is not int or number not in self._calls:
                raise BadMessage("an answer to what was not asked", fatal=True)
        else:
            if message.id in self._serving:
                raise BadMessage("a call has the id of an unanswered call", fatal=True)
            if len(self._serving) + self._unnumbered >= self.limits.max_in_flight:
                raise BadMessage(f"more than {self.limits.max_in_flight} calls in flight", fatal=True)
            most = _TEXTS_TAKEN * self.limits.max_json_bytes
            if message.nbytes and self._texts_taken + message.nbytes > most:
                raise BadMessage(f"more than {most} bytes of JSON in calls in flight", fatal=True)
            self._texts_taken += message.nbytes
            if message.id is None:
                self._unnumbered += 1
            else:
                self._serving[message.id] = message.nbytes
        if message.stream is None:
            self._happened(message, _NOTHING)
            return
        total = sum(message.sizes)
        if total > self.limits.max_message_bytes:
            raise BadMessage(
                f"a message with {total} bytes of blobs: at most {self.limits.max_message_bytes} are taken",
                fatal=True,
            )
        stream = InStream(BLOBS, total, total, message)
        stream.kept = message.method is None or self.admits(message)
        self._arrive(message.stream, stream)

    def _arrive(self, number: int, stream: InStream) -> None:
        if number in self._arriving:
            raise BadMessage("a stream has the number of an open stream", fatal=True)
        if len(self._arriving) >= self.limits.max_streams:
            raise BadMessage(f"more than {self.limits.max_streams} streams at a time", fatal=True)
        self._arriving[number] = stream

    def _control(self, message: Message) -> None:
        params = message.params
        if type(params) is not dict:
            raise BadMessage(f"{message.method} needs an object", Code.INVALID_PARAMS)
        if message.method == CANCEL:
            number = params.get("id")
            if type(number) not in (int, str):
                raise BadMessage("which call is cancelled?", Code.INVALID_PARAMS)
            if number in self._serving:
                self.events.append(Cancelled(number))
            return
        number, more = params.get("stream"), params.get("bytes")
        if type(number) is not int or type(more) is not int or not 0 < more < 2**62:
            raise BadMessage("credit names a stream and a number of bytes", Code.INVALID_PARAMS)
        stream = self._streams.get(number)
        if stream is not None:
            if not stream.credit and stream.left:
                self._sending.append(stream)
            stream.credit += more

    def receive_binary(self, data: bytes) -> None:
        """Read a binary message. Raises :class:`BadMessage` if the connection must end."""
        kind, number, last, view = parse_chunk(data)
        stream = self._arriving.get(number)
        if stream is None:
            if kind != JSON:
                raise BadMessage("a chunk of a stream that was not announced", fatal=True)
            stream = InStream(JSON, self.limits.max_json_bytes)
            self._arrive(number, stream)
        if stream.kind != kind:
            raise BadMessage("a stream changed its kind", fatal=True)
        if stream.received + len(view) - stream.announced > self.limits.window_bytes:
            raise BadMessage("more of a stream than there was credit for", fatal=True)
        if stream.kept and self.room.refuses(self, len(view)):
            raise BadMessage("there is no memory for more: send less at a time, or later", fatal=True)
        self.buffered += len(view) * stream.kept
        if not stream.take(view, last=last):
            self._grant(number, stream)
            return
        del self._arriving[number]
        if stream.message is not None:
            self._happened(stream.message, stream.data)
        else:
            self.buffered -= stream.received
            self.events.append(Unread(bytes(stream.data), self.limits.max_depth))
        if self._arriving:
            self._grant_all()

    def _grant(self, number: int, stream: InStream) -> None:
        more = stream.due(self.limits.window_bytes)
        if more and (self.buffered <= self.limits.max_buffered_bytes or self._must_go_on(number, stream)):
            stream.announced += more
            self._texts.append((dump({"method": CREDIT, "params": {"stream": number, "bytes": more}}), None))

    def _must_go_on(self, number: int, stream: InStream) -> bool:
        """Whether a stream goes on without room, so that some message ends and makes room."""
        if stream.message is not None and stream.message.method is None:
            return True  # this side asked for an answer, and the messages that wait for it may fill the room
        return not self._whole and number == next(iter(self._arriving))

    def _grant_all(self) -> None:
        for number, stream in self._arriving.items():
            self._grant(number, stream)

    def _happened(self, message: Message, data: Data) -> None:
        self._whole += len(data)
        if message.method is not None:
            self.events.append(Called(message, data))
            return
        assert type(message.id) is int
        self._texts_sent -= self._calls.pop(message.id)
        if self._held:
            self._release_calls()
        self.events.append(Answered(message.id, message, data))
