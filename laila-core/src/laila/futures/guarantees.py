"""Guarantees: blocks that end when everything that was started in them has ended.

A scope belongs to the context (:mod:`contextvars`) that entered it: threads and asyncio tasks that enter
scopes of their own do not see each other's futures. The futures of a task's own tasks belong to
the scope of that task, because tasks run in a copy of their submitter's context.
"""

from __future__ import annotations

from contextlib import suppress

from laila.errors import FutureTimeoutError, GuaranteeError
from laila.futures.group import GroupFuture
from laila.futures.loops import running_trio
from laila.futures.scope import Scope, current_scope, set_scope
from laila.futures.waiting import deadline_in, seconds_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from asyncio import Task as AsyncioTask
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from laila.futures.progress import ProgressLine
    from laila.futures.scope import AnyFuture

__all__ = ["AsyncGuarantee", "Guarantee", "guarantee", "guarantee_async"]

_REFRESH = 0.1  # seconds between two looks at the progress


class Guarantee:
    """``with guarantee:`` waits, at the end of the block, for every future created in it.

    If any of them failed, the first error in the order of their creation is raised; when the block itself
    raised, all futures are waited for all the same and the block's own error goes on. Blocks nest; a future
    belongs to the innermost one. One object serves any number of blocks, threads and nestings.

    ``guarantee(timeout=5)`` waits for 5 seconds at most and then raises
    :class:`~laila.errors.FutureTimeoutError`, while the work goes on; ``guarantee(progress=True)`` shows on
    stderr how far it is.
    """

    __slots__ = ("_progress", "_timeout")

    def __init__(self, *, timeout: float | None = None, progress: bool = False) -> None:
        self._timeout = timeout
        self._progress = progress

    def __call__(self, *, timeout: float | None = None, progress: bool = False) -> Guarantee:
        """Return a guarantee with a limit in seconds for the wait, or with a progress line."""
        deadline_in(timeout)  # a wrong one is an error here, not at the end of the block
        return Guarantee(timeout=timeout, progress=progress)

    def __enter__(self) -> Self:
        set_scope(Scope(current_scope()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = _leave()
        try:
            self._wait_for(scope)
        except FutureTimeoutError as late:
            if error is None:
                raise
            error.add_note(str(late))
        finally:
            scope.close()
        if error is None:
            raise_first(scope.snapshot())

    async def __aenter__(self) -> NoReturn:
        raise GuaranteeError(
            "laila.guarantee is for `with`; in a coroutine write `async with laila.guarantee_async:`"
        )

    async def __aexit__(self, *_: object) -> None:
        """Never reached."""

    def _wait_for(self, scope: Scope) -> None:
        deadline = deadline_in(self._timeout)
        line: ProgressLine | None = None
        if self._progress:
            from laila.futures.progress import progress_line

            line = progress_line("laila")
        try:
            # Tasks may add futures while they are waited for.
            while pending := scope.pending():
                step = _step(seconds_left(deadline), line is not None)
                settled = GroupFuture.of(pending)._block(step, note=False)
                if line is not None:
                    line.show(*scope.progress())
                if not settled and deadline is not None and not seconds_left(deadline):
                    done, total = scope.progress()
                    raise FutureTimeoutError(
                        f"{total - done} of {total} futures of the guarantee have not settled within "
                        f"{self._timeout:g} s; the work goes on",
                        timeout=self._timeout,
                    )
            if line is not None:
                line.show(*scope.progress())
        finally:
            if line is not None:
                line.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(timeout={self._timeout!r}, progress={self._progress!r})"


def _step(left: float | None, watched: bool) -> float | None:
    """The longest single wait: until the next look at the progress, if somebody looks."""
    if not watched:
        return left
    return _REFRESH if left is None else min(left, _REFRESH)


def _leave() -> Scope:
    scope = current_scope()
    if scope is None:
        raise GuaranteeError("a guarantee was left in another context than it was entered in")
    set_scope(scope.outer)
    return scope


def raise_first(futures: list[AnyFuture]) -> None:
    """Raise the first error of settled ``futures``, in their order, if there is one."""
    for future in futures:
        # Somebody cancelled these on purpose.
        if future.error() and (error := future._error()) is not None:
            try:
                raise error
            finally:
                del futures, future, error  # this frame is in the traceback of an error that a future holds


class _WatchingScope(Scope):
    """A scope whose block ends at its next ``await`` when one of its futures fails."""

    __slots__ = ("failed", "in_body")

    def __init__(self, outer: Scope | None) -> None:
        super().__init__(outer)
        self.failed: AnyFuture | None = None  # the first in time
        self.in_body = True

    def _add(self, future: AnyFuture) -> None:
        super()._add(future)
        if not future._listen(self._settled):
            self._settled(future)

    def _settled(self, future: AnyFuture) -> None:
        if future.error():
            self._soon(future)

    def _note(self, future: AnyFuture) -> None:
        """In the event loop: the first failure ends the block."""
        if self.failed is None:
            self.failed = future
            if self.in_body:
                self._end_block()

    def _soon(self, future: AnyFuture) -> None:
        """Have the event loop call :meth:`_note`, if it still runs."""
        raise NotImplementedError

    def _end_block(self) -> None:
        raise NotImplementedError


class _AsyncScope(_WatchingScope):
    """In asyncio: the task that opened the scope is cancelled."""

    __slots__ = ("_loop", "cancelled", "task")

    def __init__(self, outer: Scope | None, task: AsyncioTask[Any]) -> None:
        super().__init__(outer)
        self.task = task
        self._loop: AbstractEventLoop = task.get_loop()
        self.cancelled = False

    def _soon(self, future: AnyFuture) -> None:
        try:
            self._loop.call_soon_threadsafe(self._note, future)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _end_block(self) -> None:
        self.cancelled = True
        self.task.cancel()

    def uncancel(self) -> bool:
        """Take back the cancellation of the task that a failure asked for; whether it was asked for."""
        asked, self.cancelled = self.cancelled, False
        if asked:
            self.task.uncancel()
        return asked

    async def leave(self, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Wait for pending futures; return whether the block itself raised ``error``."""
        from asyncio import CancelledError

        task, ours = self.task, self.uncancel()
        # The block was cancelled for a failure of ours, and for nothing else.
        ended_by_us = ours and isinstance(error, CancelledError) and not task.cancelling()
        while pending := self.pending():
            try:
                await _Settled(GroupFuture.of(pending))
            except CancelledError:
                if not ours or task.cancelling():
                    raise
                # Ours, asked for a moment before the block ended, arrives only now.
        return error is not None and not ended_by_us


class _TrioScope(_WatchingScope):
    """In trio: the block is a cancel scope, which is cancelled."""

    __slots__ = ("_block", "_gone", "_token")

    def __init__(self, outer: Scope | None, trio: Any) -> None:
        super().__init__(outer)
        self._token = trio.lowlevel.current_trio_token()
        self._gone = trio.RunFinishedError
        self._block = trio.CancelScope()
        self._block.__enter__()

    def _soon(self, future: AnyFuture) -> None:
        with suppress(self._gone):
            self._token.run_sync_soon(self._note, future)

    def _end_block(self) -> None:
        self._block.cancel()

    async def leave(self, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Wait for pending futures; return whether the block itself raised ``error``."""
        try:
            ended_by_us = self._block.__exit__(error and type(error), error, trace)
        finally:
            while pending := self.pending():
                await _Settled(GroupFuture.of(pending))
        return error is not None and not ended_by_us


class AsyncGuarantee:
    """``async with guarantee_async:`` awaits, at the end of the block, every future created in it.

    When one of them fails while the block still runs, the block is cancelled at its next ``await``; the
    others are awaited, and the first error (in time) is raised. When the block itself raised, the block's own
    error goes on. Blocks nest; one object serves any number of them.
    """

    __slots__ = ()

    def __enter__(self) -> NoReturn:
        raise GuaranteeError(
            "laila.guarantee_async is for `async with`, in a coroutine; outside of one write "
            "`with laila.guarantee:`"
        )

    def __exit__(self, *_: object) -> None:
        """Never reached."""

    async def __aenter__(self) -> Self:
        trio = running_trio()
        if trio is not None:
            set_scope(_TrioScope(current_scope(), trio))
            return self
        from asyncio import current_task

        try:
            task = current_task()
        except RuntimeError:  # no event loop runs here, or an unknown one
            task = None
        if task is None:
            raise GuaranteeError(
                "laila.guarantee_async runs inside a task of asyncio (uvloop, anyio) or trio"
            )
        set_scope(_AsyncScope(current_scope(), task))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope = _leave()
        if not isinstance(scope, (_AsyncScope, _TrioScope)):
            raise GuaranteeError("guarantee_async was left in another context than it was entered in")
        scope.in_body = False
        try:
            blocks_own = await scope.leave(error, trace)
        finally:
            scope.close()
        if blocks_own:
            return False
        if scope.failed is not None:
            raise_first([scope.failed])
        raise_first(scope.snapshot())
        return False

    def __repr__(self) -> str:
        return "AsyncGuarantee()"


class _Settled:
    """Awaits the end of a future without its outcome."""

    __slots__ = ("_future",)

    def __init__(self, future: AnyFuture) -> None:
        self._future = future

    def __await__(self) -> Any:
        while not self._future._is_settled():
            yield from self._future._settled_soon()


guarantee = Guarantee()
"""``with guarantee:`` waits for every future created in the block; see :class:`Guarantee`."""

guarantee_async = AsyncGuarantee()
"""``async with guarantee_async:`` awaits every future created in the block; see :class:`AsyncGuarantee`."""
