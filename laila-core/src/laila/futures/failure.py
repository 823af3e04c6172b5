"""Errors kept inside futures: who looked at them, and what happens when nobody did.

A failed future keeps its error in a small box. When the box goes and nobody ever asked for the error, it is
logged, so that work nobody waits for does not fail in silence. Only failures pay for this: a future that
succeeds has no finalizer.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Failure", "log_error"]


class Failure:
    """One error, the traceback it came with, and whether somebody looked at it."""

    __slots__ = ("error", "seen", "traceback", "what")

    def __init__(self, error: BaseException, what: str | None = None) -> None:
        self.error = error
        # Raising adds the raiser's frames to the error's own traceback, so that the first one is kept here.
        self.traceback: TracebackType | None = error.__traceback__
        self.seen = False
        self.what = what

    def look(self) -> BaseException:
        """Return the error with the traceback it came with; from now on it counts as looked at."""
        self.seen = True
        return self.error.with_traceback(self.traceback)

    def __del__(self) -> None:
        if not self.seen:
            what = f" of {self.what}" if self.what else ""
            log_error(f"a future{what} failed and nobody looked at its result", self.error, self.traceback)


def log_error(message: str, error: BaseException, traceback: TracebackType | None) -> None:
    """Log ``error`` at ERROR with its traceback; silent while the interpreter is going down."""
    if sys is None or sys.is_finalizing():  # module globals may be gone already
        return
    from laila.showing import logger, said

    logger("laila.futures").error(
        "%s: %s: %s", message, type(error).__name__, said(error), exc_info=(type(error), error, traceback)
    )
