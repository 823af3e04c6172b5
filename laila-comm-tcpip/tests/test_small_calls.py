"""What keeps a small call cheap: one timer for all time limits, one write for all that a read gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from laila.comm.tcpip.connections import Connection
from laila.comm.tcpip.deadlines import Deadlines


class Timer:
    """A timer of :class:`Clock`."""

    def __init__(self, moment: float, ring: Callable[[], object]) -> None:
        self._moment = moment
        self.ring = ring

    def when(self) -> float:
        return self._moment

    def cancel(self) -> None:
        self.ring = lambda: None
        self.cancelled = True

    cancelled = False


class Clock:
    """The part of an event loop that keeps time, moved on by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, moment: float, call: Callable[..., object], *args: object) -> Timer:
        self.timers.append(Timer(moment, lambda: call(*args)))
        return self.timers[-1]

    def waiting(self) -> list[float]:
        """When the timers ring that are left."""
        return [timer.when() for timer in self.timers if not timer.cancelled and timer.when() > self.now]

    def go(self, to: float) -> None:
        """Ring what is due, in order; timers are early by as little as those of a real loop."""
        while due := sorted(
            (one for one in self.timers if not one.cancelled and one.when() <= to), key=Timer.when
        ):
            self.now = due[0].when() - 1e-9
            self.timers.remove(due[0])
            due[0].ring()
        self.now = to


def deadlines() -> tuple[Clock, Deadlines[str], list[tuple[str, float]]]:
    """A clock, the deadlines that it keeps, and what was too late, and when."""
    clock = Clock()
    late: list[tuple[str, float]] = []
    loop = cast("asyncio.AbstractEventLoop", clock)
    return clock, Deadlines(loop, lambda call: late.append((call, round(clock.now, 6)))), late


def test_each_call_has_the_time_that_it_was_given() -> None:
    clock, calls, late = deadlines()
    for call, seconds in (("c", 3), ("a", 1), ("d", 9), ("b", 2), ("b2", 2)):
        calls.add(call, seconds)
    calls.discard("c")
    clock.go(5)
    calls.add("e", 1)
    clock.go(100)
    assert late == [("a", 1), ("b", 2), ("b2", 2), ("e", 6), ("d", 9)]


def test_calls_that_are_soon_over_need_one_timer() -> None:
    clock, calls, late = deadlines()
    for number in range(1000):
        calls.add(str(number), 60)
        calls.discard(str(number))
    assert len(clock.timers) == 1
    clock.go(200)
    assert (late, clock.timers) == ([], [])


def test_a_connection_that_has_ended_is_held_by_no_timer_but_for_a_call_that_is_left() -> None:
    clock, calls, late = deadlines()
    calls.add("left", 1e9)
    calls.add("over", 60)
    calls.discard("over")
    calls.end()
    assert clock.waiting()
    calls.discard("left")
    assert not clock.waiting()
    assert not late


class Transport(asyncio.Transport):
    """Keeps what is written, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def writelines(self, list_of_data: Any) -> None:
        self.writes.append(b"".join(list_of_data))


def test_what_one_read_brings_is_answered_by_one_write() -> None:
    async def serve() -> list[bytes]:
        server = Connection(ServerProtocol())
        transport = Transport()
        server.connection_made(transport)
        client = ClientProtocol(parse_uri("ws://127.0.0.1:1"))
        client.send_request(client.connect())
        server.data_received(b"".join(client.data_to_send()))
        client.receive_data(b"".join(transport.writes))
        client.events_received()
        transport.writes.clear()

        waiting: list[str] = []

        def flush() -> None:
            if not server.reading:
                for text in waiting:
                    server.put(text)
                waiting.clear()
                server.flush()

        def take(message: str | bytes) -> None:
            waiting.append(f"the answer to {message!s}")
            flush()

        server.attach(take, flush, lambda: None)
        for text in (b"one", b"two", b"three"):
            client.send_text(text)
        server.data_received(b"".join(client.data_to_send()))
        (written,) = transport.writes
        client.receive_data(written)
        return [bytes(event.data) for event in client.events_received() if isinstance(event, Frame)]

    assert asyncio.run(serve()) == [b"the answer to one", b"the answer to two", b"the answer to three"]
