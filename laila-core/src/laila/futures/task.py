"""Task: a callable, the context it was submitted in, and the future it settles.

Task forces receive tasks and call :meth:`Task.run` where and when they see fit. :func:`spawn` is how the rest
of laila has something done: on the task force of the active policy, or in the caller when there is none.
"""

from __future__ import annotations

from contextvars import copy_context

from laila.errors import InvalidTaskError
from laila.futures.failure import Failure
from laila.futures.future import Future
from laila.futures.states import FAILED, FINISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from typing import Any, TypeVar

    T = TypeVar("T")
    Submitter = Callable[[Sequence["Task"]], None]

__all__ = ["Task", "set_submitter", "spawn", "submit_tasks"]


class Task:
    """One piece of work: ``fn`` takes no argument, and what it returns or raises settles ``future``.

    ``context`` is the caller's context (:mod:`contextvars`); the task runs in a copy of it. ``owner`` is set
    by a task force whose workers may run, while they wait, the very task they wait for: it is compared with
    the waiting worker's. Safe to share between threads; only one :meth:`run` or :meth:`claim` ever succeeds.
    """

    __slots__ = ("context", "fn", "future", "owner")

    def __init__(self, fn: Callable[[], Any], context: Context | None = None) -> None:
        self.fn: Callable[[], Any] = fn
        self.context: Context = copy_context() if context is None else context
        self.owner: object = None
        self.future: Future[Any] = Future(self)

    @property
    def name(self) -> str:
        """What the task is called in messages: the name of its function, in however many partials."""
        try:
            fn: Any = self.fn
            while not hasattr(fn, "__qualname__") and callable(getattr(fn, "func", None)):
                fn = fn.func
            return str(fn.__qualname__)
        except Exception:  # noqa: BLE001 - a callable may answer in any way, and a name is not worth an error
            return type(self.fn).__qualname__

    @property
    def started(self) -> bool:
        """Whether the task was started or settled (cancelled, for one): nothing is left to run."""
        return self.future._state != 0

    def claim(self) -> bool:
        """Mark the task as running.

        This is for a task force that runs the work elsewhere: claim the task, ship ``fn``, and set
        ``future.result`` or ``future.exception`` when the outcome is known. A task force in this process
        calls :meth:`run`.

        Returns:
            False if the task was started or cancelled before: leave it alone then.
        """
        return self.future._start()

    def run(self) -> bool:
        """Run the task in this thread and settle its future, unless it was started or cancelled before.

        Never raises what the work raises: ``SystemExit`` and ``KeyboardInterrupt`` settle the future like
        other errors.

        Returns:
            Whether the task was run.
        """
        future = self.future
        if not future._start():
            return False
        try:
            # A context can be entered once at a time, and tasks of one batch share theirs: each runs in a
            # copy.
            value = self.context.copy().run(self.fn)
        except BaseException as error:  # noqa: BLE001 - whatever ends the task is its outcome
            traceback = error.__traceback__
            # Without this frame, which would tie the error to the future that holds it.
            future._settle(FAILED, Failure(error.with_traceback(traceback and traceback.tb_next), self.name))
            # The frames that the traceback does hold know this one as their caller, with all it refers to.
            del self, future, traceback
        else:
            future._settle(FINISHED, value)
        return True

    def release(self) -> None:
        """Let go of the work of a task that will not be run, which may sit in a queue for long."""
        self.fn = _nothing

    def abandon(self, error: BaseException) -> None:
        """Settle the future with an error and call no listener: in a forked child they are the parent's.

        Args:
            error: The error.
        """
        self.future._abandon(error)
        self.release()

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.future.status}>"


def _nothing() -> None:
    """The remaining work of a cancelled task."""


_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without importing inspect


def check_task(fn: object) -> Callable[[], Any]:
    """Return ``fn`` if it can be called; raises :class:`InvalidTaskError` (a ``TypeError``) otherwise."""
    if not callable(fn):
        raise InvalidTaskError(
            f"a task is a callable without arguments, not {type(fn).__name__}: wrap the call, "
            "as in `lambda: work(x)` or `functools.partial(work, x)`"
        )
    code = getattr(fn, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        raise InvalidTaskError(
            f"{code.co_name} is an async function, which gives a coroutine and runs nothing: await it in "
            "your event loop, or submit `lambda: asyncio.run(…)`"
        )
    return fn


def run_here(tasks: Sequence[Task]) -> None:
    """Run tasks one after the other in the caller. Blocks.

    Args:
        tasks: What nobody else takes.
    """
    for task in tasks:
        task.run()


_submitter: Submitter | None = None


def set_submitter(submitter: Submitter | None) -> None:
    """Say who runs what :func:`spawn` gets. The active policy uses this.

    Args:
        submitter: Takes the list of tasks and runs them; None lets the caller of ``spawn`` run them.
    """
    global _submitter
    _submitter = submitter


def submit_tasks(tasks: Sequence[Task], submit: Submitter | None = None) -> None:
    """Hand ``tasks`` to ``submit``, or to the active submitter, or run them in the caller."""
    (submit or _submitter or run_here)(tasks)


def spawn(fn: Callable[[], T], submit: Submitter | None = None) -> Future[T]:
    """Have a function run in the caller's context. Does not block where a task force is active.

    The future belongs to the caller's guarantee, if there is one.

    Args:
        fn: Takes no argument.
        submit: Takes the list of tasks and runs them. By default the task force of the active policy does, or
            the calling thread if there is none.

    Returns:
        The future of what ``fn`` gives.
    """
    from laila.futures.scope import register

    task = Task(fn)
    future: Future[T] = task.future
    submit_tasks((task,), submit)
    register(future)
    return future
