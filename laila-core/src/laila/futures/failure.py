"""Errors kept inside futures: who looked at them, and what happens when nobody did.

A failed future keeps its error in a small box. Where nobody ever asks for the error it is told, once: logged
when the box goes, or at ``laila.terminate()``, which raises the first, or when the program ends. So work that
nobody waits for does not fail in silence. Only failures pay for this: a future that succeeds has no
finalizer.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from weakref import ref

from laila.forks import after_fork
from laila.futures.strict import fail_at_the_end, fail_child, note_exits, strict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import TypeAlias

    Telling: TypeAlias = tuple[str, BaseException, TracebackType | None]

__all__ = ["Failure", "Watched", "log_error", "tell_failures"]


class Watched:
    """A failure that is logged unless somebody looks at it."""

    __slots__ = ()

    def watch(self) -> None:
        """Log this failure later, unless somebody looks at it."""
        _watched[id(self)] = ref(self)

    def untold(self) -> Telling | None:
        """Return what must be logged, or None if somebody looked."""
        raise NotImplementedError

    def hush(self) -> None:
        """Never log this failure any more."""
        raise NotImplementedError

    def __del__(self) -> None:
        # An error that was never watched is not a failure of a future: the future had an outcome already.
        if _watched is None or _watched.pop(id(self), None) is None:
            return
        telling = self.untold()
        if telling is not None:
            _tell(telling)
            _losses.note(telling[1])


class Failure(Watched):
    """One error, the traceback it came with, and whether somebody looked at it."""

    __slots__ = ("__weakref__", "error", "seen", "traceback", "what")

    def __init__(self, error: BaseException, what: str | None = None) -> None:
        self.error = error
        # Raising adds the raiser's frames to the error's own traceback, so that the first one is kept here.
        self.traceback: TracebackType | None = error.__traceback__
        self.seen = False
        self.what = what

    def look(self) -> BaseException:
        """Return the error with the traceback it came with; from now on it counts as looked at."""
        self.seen = True
        return self.peek()

    def peek(self) -> BaseException:
        """Return the error with the traceback it came with, for somebody who may or may not look at it."""
        return self.error.with_traceback(self.traceback)

    def watch(self) -> None:
        """Log this failure later, unless somebody has looked or looks at it."""
        if not self.seen:
            super().watch()

    def untold(self) -> Telling | None:
        """Return what must be logged, or None if somebody looked."""
        if self.seen:
            return None
        what = f" of {self.what}" if self.what else ""
        return f"a future{what} failed and nobody looked at its result", self.error, self.traceback

    def hush(self) -> None:
        """Count as looked at."""
        self.seen = True


class _Losses:
    """How many failures were told of, and the first of them since ``laila.terminate()``."""

    def __init__(self) -> None:
        self.count = 0
        self.first: BaseException | None = None

    def note(self, error: BaseException) -> None:
        """Count a failure that was logged because its future was collected."""
        if self.first is None:
            self.first = error
            _strip(error)


_watched: dict[int, ref[Watched]] = {}  # in the order of failing
_losses = _Losses()
_postponed: list[Telling] = []


def tell_failures(*, raising: bool = False) -> BaseException | None:
    """Log each failure that nobody looked at. With ``raising``, return the first, for the caller to raise.

    The first may have been logged before, when its future was collected.
    """
    while _postponed:
        log_error(*_postponed.pop(0))
    first, _losses.first = (_losses.first, None) if raising else (None, _losses.first)
    for key, reference in list(_watched.items()):
        _watched.pop(key, None)
        failure = reference()
        telling = None if failure is None else failure.untold()
        if failure is None or telling is None:
            continue
        failure.hush()
        if raising and first is None:
            first = telling[1].with_traceback(telling[2])
        else:
            _tell(telling)
    return first


def _tell(telling: Telling) -> None:
    _losses.count += 1
    logging = sys.modules.get("logging")
    half_imported = logging is not None and not hasattr(logging, "getLogger")
    if not sys.is_finalizing() and (half_imported or _is_parsing()):
        _postponed.append(telling)  # the collector runs within its very import, or within ast.parse
        return
    log_error(*telling)


def _is_parsing() -> bool:
    """Whether the caller interrupts ``ast.parse``, which the text of a traceback needs, too.

    In Python 3.11 the interrupted one raises ``SystemError: AST constructor recursion depth mismatch`` then.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "ast":
            return True
        frame = frame.f_back
    return False


def log_error(message: str, error: BaseException, traceback: TracebackType | None) -> None:
    """Log ``error`` at ERROR with its traceback; as one line on stderr while the interpreter goes down."""
    if sys is None or sys.is_finalizing():  # module globals may be gone already, and logging with them
        _last_words(f"{message}: {type(error).__name__}: {error}\n")
        return
    from laila.showing import logger, said

    logger("laila.futures").error(
        "%s: %s: %s", message, type(error).__name__, said(error), exc_info=(type(error), error, traceback)
    )


def _last_words(text: str, write=os.write) -> None:  # type: ignore[no-untyped-def]  # bound while os is there
    try:
        write(2, text.encode(errors="backslashreplace"))
    except Exception:  # noqa: BLE001 - there is no other place to say it
        return


def _strip(error: BaseException | None) -> None:
    """Let go of the frames that an error which nobody looks at keeps alive."""
    for _ in range(50):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


# ------------------------------------------------------------------------------------------ the program's end


def _at_exit() -> None:
    """The last hook of laila's: policies were closed by now."""
    tell_failures()
    if strict():
        fail_at_the_end(_losses)


def _at_end_of_child() -> None:
    """At the end of a process of :mod:`multiprocessing`, which runs no exit hooks."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        tell_failures()
        if _losses.count and strict():
            fail_child()


@after_fork
def _hush_all() -> None:
    # The parent logs its own failures.
    for reference in list(_watched.values()):
        failure = reference()
        if failure is not None:
            failure.hush()
    _watched.clear()
    _losses.__init__()  # type: ignore[misc]


atexit.register(_at_exit)
if strict():
    note_exits()
with suppress(AttributeError, RuntimeError):  # it is not public, and too late at the program's end
    import threading

    # Before the hooks of task forces are, and so run after them.
    threading._register_atexit(_at_end_of_child)  # type: ignore[attr-defined]
