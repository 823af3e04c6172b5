"""Connections to one server, lent to one call at a time, and what to do when one is lost.

The connections are redis-py's. Its connection pools are not used, because they close connections that other
threads use, and do not know a server that must be started first. Two rules hold everything together. First: a
call that did not read all its answers closes its connection, so no answer ever reaches another call. Second:
no wait is without end: each has a timeout, and :meth:`Connections.close` ends all of them.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol

from laila.contract import Renewed, locks
from laila.errors import LailaError
from laila.pool.redis.wire import packed
from redis import exceptions
from redis.backoff import EqualJitterBackoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from laila.pool.redis.wire import Bytes, Command

__all__ = ["LOST", "ClosedError", "Connection", "Connections", "TooManyCallsError"]

LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
"""The errors of a call that cannot make its connection, or loses it."""
# redis-py counts this among them, but the server will refuse it again.
_FINAL = (exceptions.AuthenticationError, exceptions.AuthorizationError, LailaError)
_BACKOFF = EqualJitterBackoff(cap=0.5, base=0.02)  # seconds; close() ends a call after one of them

_every: Renewed[Connections] = Renewed(lambda connections: connections.renew())


class Connection(Protocol):
    """The methods of redis-py's connections that are used here; redis-py gives them no types."""

    pid: int
    redis_connect_func: Callable[[Connection], None] | None
    _sock: socket.socket | None

    def connect(self) -> None:
        """Open it, and call ``redis_connect_func``."""

    def on_connect(self) -> None:
        """Log in."""

    def disconnect(self) -> None:
        """Close it; may be called several times."""

    def can_read(self, timeout: float) -> bool:
        """Whether bytes wait to be read; raises if the other side has closed."""

    def send_packed_command(self, command: list[Bytes], check_health: bool) -> None:
        """Send these bytes."""

    def read_response(self) -> Any:
        """Read an answer; raises an answer that is an error."""


class ClosedError(Exception):
    """The connections were closed. Never leaves the package."""


class TooManyCallsError(Exception):
    """Every connection was in use for as long as a call may wait. Never leaves the package."""


class Connections:
    """Up to ``limit`` connections that ``make`` makes.

    ``ready`` is called before a connection is opened, and ``refuse`` with its socket before anything is sent.

    A call that loses its connection is repeated for up to ``retry_for`` seconds. While no call has reached
    the server, or the last one could not, each call tries once: so a caller pays that wait once. Safe in any
    thread, and in a forked child, which opens its own.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        ready: Callable[[], None],
        refuse: Callable[[socket.socket], None],
        limit: int,
        timeout: float,
        retry_for: float,
    ) -> None:
        self._make = make
        self._ready = ready
        self._refuse = refuse
        self._limit = limit
        self._timeout = timeout
        self._retry_for = retry_for
        self._closed = False
        self._reached = False
        self.renew()
        _every.add(self)

    def renew(self) -> None:
        """Begin without connections; a forked child calls this, because it must not touch the parent's."""
        # A queue, not a semaphore: a signal handler that interrupts the holder must not wait for ever.
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._limit):
            self._room.put(None)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    def run(self, build: Callable[[bool], Sequence[Command]]) -> list[Any]:
        """Send the commands that ``build`` gives, and return an answer each; an error is a ``ResponseError``.

        The argument of ``build`` says whether an earlier try may have done it already, its answers lost.
        Raises an error of ``LOST`` if no try reached the server.
        """
        patience = _Patience(self)
        sent = False
        while True:
            try:
                with self._lent() as connection:
                    again, sent = sent, True
                    answers = _exchange(connection, build(again))
            except LOST as error:
                patience.failed(error)
            else:
                return answers

    def pages(self, build: Callable[[int], Command]) -> Iterator[list[bytes]]:
        """Yield the keys that SCAN finds, page by page; ``build`` makes the command from the cursor.

        Only the server process that gave a cursor understands it. So a scan keeps its connection, above the
        limit, and begins again if the connection is lost. A key may come twice, like with SCAN itself.
        """
        patience = _Patience(self)
        while True:
            try:
                with self._open(self._take()) as connection:
                    cursor = -1
                    while cursor:
                        if connection.pid != os.getpid():
                            raise exceptions.ConnectionError("this scan was begun in another process")
                        (answer,) = _exchange(connection, [build(max(cursor, 0))])
                        if isinstance(answer, exceptions.ResponseError):
                            raise answer
                        cursor = int(answer[0])
                        yield answer[1]
                        patience.begin()
                    return
            except LOST as error:
                patience.failed(error)

    def close(self) -> None:
        """Close every connection; calls under way fail at once, and so do later ones."""
        self._closed = True
        self._drop_idle()
        with locks.mutex:
            busy = list(self._busy)
        for connection in busy:
            # The threads of these calls wake up and close them; closing here would take the socket away from
            # them.
            if connection._sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(connection._sock, socket.SHUT_RDWR)

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        room = self._room
        try:
            room.get(timeout=self._timeout)
        except Empty:
            raise TooManyCallsError from None
        try:
            with self._open(self._take()) as connection:
                yield connection
        finally:
            room.put(None)

    def _take(self) -> Connection:
        with suppress(IndexError):
            return self._idle.pop()
        connection = self._make()
        connection.redis_connect_func = self._log_in
        return connection

    def _log_in(self, connection: Connection) -> None:
        self._check_open()  # close() may have come just before there was a socket to shut down
        if connection._sock is not None:
            self._refuse(connection._sock)
        connection.on_connect()

    @contextmanager
    def _open(self, connection: Connection) -> Iterator[Connection]:
        """Open the connection if needed. Keep it for later if the body ends well, otherwise close it."""
        with locks.mutex:
            self._busy.add(connection)
        try:
            self._check_open()
            if not _is_clean(connection):
                self._ready()
                connection.connect()
            self._reached = True
            yield connection
        except BaseException:
            connection.disconnect()
            raise
        finally:
            with locks.mutex:
                self._busy.discard(connection)
                keep = connection._sock is not None and not self._closed and connection.pid == os.getpid()
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.disconnect()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError

    def _drop_idle(self) -> None:
        with locks.mutex:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()


class _Patience:
    """How long one call goes on trying."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.begin()

    def begin(self) -> None:
        """Count from now."""
        self._started = monotonic()
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Wait before the next try; raise ``error`` if there is no next try."""
        ours = self._connections
        ours._check_open()
        ours._drop_idle()  # if one connection is lost, the others probably are too
        over = monotonic() - self._started >= ours._retry_for
        if isinstance(error, _FINAL) or over or not ours._reached:
            ours._reached = False
            raise error
        self._failures += 1
        sleep(_BACKOFF.compute(self._failures))


def _is_clean(connection: Connection) -> bool:
    """Whether the connection is open and empty of answers that nobody asked for; closes it if not."""
    if connection._sock is None:
        return False
    with suppress(*LOST):
        if not connection.can_read(0):
            return True
    connection.disconnect()
    return False


def _exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """Send ``commands`` and read an answer each; send scripts that the server does not know yet."""
    answers = _send(connection, commands)
    unknown = [i for i, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
    if unknown:
        resent = _send(connection, [commands[i].with_source() for i in unknown])
        for i, answer in zip(unknown, resent, strict=True):
            answers[i] = answer
    return answers


def _send(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    connection.send_packed_command(packed(commands), check_health=False)
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(connection.read_response())
        except exceptions.ResponseError as error:
            answers.append(error)
    return answers
