"""The next page of a listing, within a time.

The client library asks for page after page until one has something in it, all in one step. A service whose
pages are empty without end would hold that step for ever. It can be ended only where it is awaited.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from laila.contract import NO_THREAD, start_thread
from laila.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obstore import ListStream, ObjectMeta

    Pages = ListStream[Sequence[ObjectMeta]]
    Page = Sequence[ObjectMeta] | None

__all__ = ["EndlessError", "next_page"]


class EndlessError(Exception):
    """No page with something in it came in time. Never leaves the package."""


def next_page(pages: Pages, seconds: float) -> Page:
    """Return the next page that has something in it; None at the end. Raises :class:`EndlessError`."""
    if asyncio._get_running_loop() is None:
        return _await_page(pages, seconds)
    # In a coroutine: a thread has one loop at a time, so another thread waits.
    answers: list[Page | BaseException] = []

    def work() -> None:
        try:
            answers.append(_await_page(pages, seconds))
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            answers.append(error)

    waiting = threading.Thread(target=work, name="laila-s3-list", daemon=True)
    if not start_thread(waiting):
        raise PoolError(NO_THREAD)
    waiting.join()
    (answer,) = answers
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _await_page(pages: Pages, seconds: float) -> Page:
    async def ask() -> Page:
        task = asyncio.ensure_future(_page(pages))
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            raise EndlessError
        return task.result()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(ask())


async def _page(pages: Pages) -> Page:
    return await anext(pages, None)
