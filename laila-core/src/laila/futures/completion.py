"""Futures as they complete."""

from __future__ import annotations

from laila.errors import FutureTimeoutError
from laila.futures.bank import FutureIdentity, resolve
from laila.futures.base import FutureBase
from laila.futures.waiting import blocked, current_host, deadline_in, seconds_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from queue import SimpleQueue

    from laila.futures.bank import AnyFuture, FutureRef

__all__ = ["as_completed"]


def as_completed(
    futures: Iterable[FutureRef] | FutureRef, timeout: float | None = None
) -> Iterator[AnyFuture]:
    """Give futures as they settle, each once, the first first. Blocks between them.

    Args:
        futures: Futures, groups, identities or ids; of a group alone, its children.
        timeout: Seconds for all of them together, counted from this call.

    Returns:
        An iterator over the futures and groups.

    Raises:
        FutureTimeoutError: When time is up before all have settled (a ``TimeoutError``). The work goes on.
    """
    if isinstance(futures, (FutureBase, FutureIdentity, str)):
        futures = _parts(resolve(futures))
    wanted = {id(future): future for future in map(resolve, futures)}
    return _as_completed(list(wanted.values()), timeout, deadline_in(timeout))


def _parts(future: AnyFuture) -> Sequence[AnyFuture]:
    """The futures of a group, or the one future."""
    return (future,) if not hasattr(type(future), "futures") else future.futures()  # type: ignore[union-attr]


def _as_completed(
    futures: list[AnyFuture], timeout: float | None, deadline: float | None
) -> Iterator[AnyFuture]:
    from queue import Empty, SimpleQueue

    settled: SimpleQueue[AnyFuture] = SimpleQueue()
    pending = []
    for future in futures:
        if future._listen(settled.put, first=True):
            pending.append(future)
        else:
            settled.put(future)
    try:
        for _ in futures:
            try:
                next_one = settled.get_nowait()
            except Empty:
                next_one = _next(settled, futures, timeout, deadline)
            yield next_one
    finally:
        for future in pending:
            future._unlisten(settled.put)


def _next(
    settled: SimpleQueue[AnyFuture], futures: list[AnyFuture], timeout: float | None, deadline: float | None
) -> AnyFuture:
    """Wait for the next of ``futures`` to come out of ``settled``."""
    from contextlib import nullcontext
    from queue import Empty

    host = current_host()
    with nullcontext(True) if host is None else blocked(host) as replaced:
        # None of them in particular is waited for, so that nothing is done here but when nobody else can.
        if host is not None and not replaced:
            next(
                (task for future in futures for task in future._tasks() if host.adopt(task, force=True)), None
            )
        try:
            return settled.get(timeout=seconds_left(deadline))
        except Empty:
            left = sum(not future._is_settled() for future in futures)
            raise FutureTimeoutError(
                f"{left} of {len(futures)} futures have not settled within {timeout:g} s; the work goes on",
                timeout=timeout,
            ) from None
