"""What the suites share: promises and how a broken one is told, bounded waits, and what may leak."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from laila.component.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn, TypeVar

    from laila.contract import Pool

    T = TypeVar("T")

__all__ = ["Leaks", "broken", "can_together", "in_threads", "promise", "until"]

PATIENCE = 100.0
"""Seconds after which something that should end counts as hanging."""


def broken(what: str) -> NoReturn:
    """Fail the test that runs: the promise ``what`` is broken."""
    __tracebackhide__ = True
    pytest.fail(f"promise broken: {what}")


def promise(kept: object, what: str) -> None:
    """Fail the test that runs unless ``kept``; ``what`` says what was promised, and what came instead."""
    __tracebackhide__ = True
    if not kept:
        broken(what)


def can_together(pool: Pool) -> bool:
    """Whether the pool promises to file several blobs in one commit, or none of them."""
    return type(pool)._create_together is not Backend._create_together


def until(done: Callable[[], object], what: Callable[[], str], seconds: float = PATIENCE) -> None:
    """Wait until ``done()``; after ``seconds`` the promise that ``what()`` tells is broken."""
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            broken(what())
        time.sleep(0.01)


def in_threads(work: Sequence[Callable[[], T]], what: str, seconds: float = 2 * PATIENCE) -> list[T]:
    """Run every function in a thread of its own, all begun at once; return what they gave, in their order.

    The first error is raised here. What has not ended after ``seconds`` breaks the promise ``what``.
    """
    __tracebackhide__ = True
    gate = threading.Barrier(len(work))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, function: Callable[[], T]) -> None:
        try:
            gate.wait(PATIENCE)
            results[number] = function()
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number, function), daemon=True)
        for number, function in enumerate(work)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    promise(not any(thread.is_alive() for thread in threads), what)
    return [results[number] for number in range(len(work))]


class Leaks:
    """The threads, files and child processes that were there before; what is left of later ones is a leak."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._files = _open_files()
        self._children = _children()

    def check(self, what: str, *, files: int = 0, seconds: float = 8.0) -> None:
        """Break the promise that ``what`` gives everything back, unless it does within ``seconds``.

        ``files`` more descriptors than before are not counted: what a library keeps for the whole process.
        """
        __tracebackhide__ = True

        def threads() -> set[str]:
            return {thread.name for thread in threading.enumerate() if thread not in self._threads}

        def children() -> set[str]:
            return _children() - self._children

        def opened() -> set[str]:
            now = _open_files()
            return now - self._files if len(now) > len(self._files) + files else set()

        def leaves_no(kind: str, left: Callable[[], set[str]]) -> None:
            __tracebackhide__ = True
            until(
                lambda: not left(), lambda: f"{what} leaves no {kind} behind; left: {_some(left())}", seconds
            )

        leaves_no("thread", threads)
        leaves_no("process", children)
        leaves_no("file and socket", opened)


def _some(left: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, left))[:5]) or "one that came and went"


def _open_files() -> set[str]:
    """This process's descriptors, with what they are; none where the system does not tell."""
    found = set()
    try:
        for number in os.listdir("/proc/self/fd"):
            try:
                found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
            except OSError:
                continue  # the descriptor that listed the folder
    except OSError:
        return set()
    return found


def _children() -> set[str]:
    """The processes that this one started and that have not ended; none where the system does not tell."""
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:
        return set()
    found: set[str] = set()
    for task in tasks:
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found |= set(file.read().split())
        except OSError:
            continue  # the thread has ended meanwhile
    return found
