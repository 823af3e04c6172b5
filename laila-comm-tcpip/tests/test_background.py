"""The end of the event loop: what it has taken is done, and nobody waits for what it has not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from laila.comm.tcpip.background import Background
from laila.errors import PeerError


def test_each_call_that_the_loop_takes_is_made() -> None:
    """Also those that come between its last turn and its close."""
    for _ in range(10):
        loop, made, taken, begun = Background(), [0], [0], threading.Event()

        def make(made: list[int] = made) -> None:
            made[0] += 1

        def call(loop: Background = loop, taken: list[int] = taken, begun: threading.Event = begun) -> None:
            while loop.soon(make):
                taken[0] += 1
                begun.set()

        caller = threading.Thread(target=call)
        caller.start()
        assert begun.wait(60)
        loop.end()
        caller.join(60)
        assert made == taken
        assert not loop.soon(make)


def test_who_waits_is_told_that_the_loop_has_ended() -> None:
    """A coroutine that is under way is cancelled, and cleans up; a later one does not begin."""
    loop, begun, cleaned = Background(), threading.Event(), []
    told: list[BaseException] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            cleaned.append(True)

    def wait() -> None:
        try:
            loop.wait_for(work(), None)
        except PeerError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(60)
    loop.end()
    waiting.join(60)
    loop._thread.join(60)
    assert [str(error) for error in told if "the protocol was stopped" in str(error)]
    assert cleaned == [True]
    with pytest.raises(PeerError, match="the protocol was stopped"):
        loop.wait_for(work(), None)
