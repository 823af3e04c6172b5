"""Answers of a server, read from a connection: the protocol RESP2, with a bound on all that is announced.

hiredis makes a list as long as a server says it will be: seventeen bytes (``*2000000000``) hold up a process
for a quarter of a minute at each collection of garbage. redis-py's own parser does not, but nests by
recursion, and reads lines of any length. Here room is made as bytes come, and no answer takes more than
:data:`MOST_BYTES`.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from laila.contract import shown
from redis import exceptions
from redis.connection import DefaultParser

if TYPE_CHECKING:
    import socket

    from laila.pool.redis.connections import Connection

__all__ = ["AnswerParser"]

MOST_BYTES = 1 << 30
"""The most memory that one answer may take; a list counts its items too."""
_MOST_OF_VALUE = 512 << 20  # what the protocol lets a value have, unless a server is told otherwise
_MOST_OF_LINE = 32 << 10  # a number, a word, or the text of an error
_MOST_NESTED = 8  # lists; SCAN has two
_ITEM_BYTES = 64
_BELIEVED = 32 << 20  # bytes of a value for which room is made before they come
_LARGE = 64 << 10
_END = b"\r\n"
_NOTHING_YET = (BlockingIOError, TimeoutError, ssl.SSLWantReadError)


class AnswerParser:
    """The parser that redis-py's connections are given. A large value may be a bytearray.

    After an error it is in the middle of an answer: the connection must be closed.
    """

    def __init__(self, socket_read_size: int) -> None:
        self._sock: socket.socket | None = None
        self._chunk = memoryview(bytearray(socket_read_size))
        self.on_disconnect()

    def on_connect(self, connection: Connection, **_: object) -> None:
        """Read from the socket of ``connection``."""
        self._sock = connection._sock

    def on_disconnect(self) -> None:
        """Forget the socket, and what was read from it."""
        self._sock = None
        self._data = b""
        self._at = 0

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether something waits to be read; raise where the other side has closed."""
        if self._at < len(self._data):
            return True
        sock = self._open_socket()
        before = sock.gettimeout()
        sock.settimeout(timeout)
        try:
            self._more()
        except _NOTHING_YET:
            return False
        finally:
            sock.settimeout(before)
        return True

    def read_response(self, *_: object, **__: object) -> Any:
        """Read one answer: bytes, a number, a list of them, None, or an error of the server's."""
        self._room = MOST_BYTES
        answer = self._value(0)
        stack: list[tuple[list[Any], int]] = []  # lists that are not full yet, and their lengths
        while True:
            if type(answer) is _List:
                if answer.count:
                    stack.append(([], answer.count))
                    answer = self._value(len(stack))
                    continue
                answer = []
            if not stack:
                break
            items, count = stack[-1]
            items.append(answer)
            self._take_values(items, count)
            if len(items) == count:
                stack.pop()
                answer = items
            else:
                answer = self._value(len(stack))
        if isinstance(answer, exceptions.ConnectionError):
            raise answer
        return answer

    def _take_values(self, items: list[Any], count: int) -> None:
        """Append the values that were read already and are plain, up to ``count`` items: most are."""
        data, at = self._data, self._at
        while len(items) < count and data[at : at + 1] == b"$":
            end = data.find(_END, at, at + 12)
            size = data[at + 1 : end]
            if end < 0 or not size.isdigit() or (stop := end + 2 + int(size)) + 2 > len(data):
                break
            items.append(data[end + 2 : stop])
            at = stop + 2
        self._room -= at - self._at
        self._at = at

    def _value(self, nested: int) -> Any:
        """Read a value, or the length of a list."""
        data, start = self._data, self._at
        end = data.find(_END, start, start + _MOST_OF_LINE)
        if end < 0:
            end = self._end_of_line()
            data, start = self._data, self._at
        self._at = end + 2
        kind, text = data[start : start + 1], data[start + 1 : end]
        if kind == b"$":
            size = _number(text, _MOST_OF_VALUE)
            return None if size < 0 else self._bytes(size, nested)
        if kind == b":":
            return _number(text, None)
        if kind == b"*":
            count = _number(text, self._room // _ITEM_BYTES)
            if count < 0:
                return None
            if nested >= _MOST_NESTED:
                raise exceptions.InvalidResponse(f"it nests lists more than {_MOST_NESTED} deep")
            self._room -= count * _ITEM_BYTES
            return _List(count)
        if kind == b"+":
            return text
        if kind == b"-":
            return DefaultParser.parse_error(text.decode("utf-8", "replace"))  # type: ignore[no-untyped-call]
        raise exceptions.InvalidResponse(f"an answer begins with {shown(data[start : start + 16])}")

    def _end_of_line(self) -> int:
        """Read until the line that begins here is whole; return where it ends."""
        seen = 0
        while (end := self._data.find(_END, self._at + max(0, seen - 1))) < 0:
            seen = len(self._data) - self._at
            if seen > _MOST_OF_LINE:
                raise exceptions.InvalidResponse(f"a line is longer than {_MOST_OF_LINE} bytes")
            self._more()
        return end

    def _bytes(self, size: int, nested: int) -> bytes | bytearray:
        self._room -= size
        if self._room < 0:
            raise exceptions.InvalidResponse(f"an answer has more than {MOST_BYTES} bytes")
        start, data = self._at, self._data
        stop = start + size + len(_END)
        if stop <= len(data):
            self._at = stop
            return data[start : start + size]
        whole = self._filled(data[start:], size + len(_END))
        self._data, self._at = b"", 0
        del whole[-len(_END) :]
        return whole if size >= _LARGE and not nested else bytes(whole)

    def _filled(self, begun: bytes, nbytes: int) -> bytearray:
        """Return ``nbytes``, of which the first are read already. The rest goes where it stays.

        What is announced may not come: beyond some bytes, room is made as they come.
        """
        sock = self._open_socket()
        whole = bytearray(min(nbytes, max(_BELIEVED, len(begun))))
        filled = len(begun)
        whole[:filled] = begun
        while filled < nbytes:
            if filled == len(whole):
                whole.extend(bytes(min(filled, nbytes - filled)))
            with memoryview(whole) as view:
                got = sock.recv_into(view[filled:])
            if not got:
                raise exceptions.ConnectionError("it was closed in the middle of an answer")
            filled += got
        return whole

    def _more(self) -> None:
        """Read some bytes; those that were dealt with are dropped."""
        got = self._open_socket().recv_into(self._chunk)
        if not got:
            raise exceptions.ConnectionError("Connection closed by server.")
        rest = self._data[self._at :]
        self._data, self._at = rest + self._chunk[:got], 0

    def _open_socket(self) -> socket.socket:
        if self._sock is None:
            raise exceptions.ConnectionError("Connection closed by server.")
        return self._sock


class _List:
    """The beginning of a list."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


def _number(text: bytes, most: int | None) -> int:
    """Return the number that a line says; of a length, -1 for nothing, and no more than ``most``."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit() or len(digits) > 20:
        raise exceptions.InvalidResponse(f"{shown(text[:24])} is no number")
    number = int(text)
    if most is not None and not -1 <= number <= most:
        raise exceptions.InvalidResponse(f"it announces {number} bytes or items, and {most} is the most")
    return number
