"""The exit status under ``LAILA_STRICT=1``: success becomes 1 where failures were told of.

Another status stays. Python does not say at its end which status it was given. So ``sys.exit`` raises a
``SystemExit`` that notes whether it is the one that ends the program. A bare ``raise SystemExit(3)`` is not
seen, and ends with 1.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol

    class Counting(Protocol):
        """Anything that knows how many failures were logged."""

        count: int


__all__ = ["fail_at_the_end", "fail_child", "note_exits", "strict"]

_given: list[Any] = []


def strict() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get("LAILA_STRICT", "").strip().lower() in {"1", "true", "yes", "on"}


class _Exit(SystemExit):
    """Notes its status when the interpreter asks for that, which no frame of Python calls then."""

    @property
    def code(self) -> Any:  # type: ignore[override]  # it is what the constructor was given
        status = self.args[0] if len(self.args) == 1 else self.args or None
        try:
            sys._getframe(1)
        except ValueError:
            _given.append(status)
        return status

    def __reduce__(self) -> tuple[type[SystemExit], tuple[Any, ...]]:
        return SystemExit, self.args


_Exit.__name__ = _Exit.__qualname__ = "SystemExit"


def note_exits() -> None:
    """Have ``sys.exit`` note the status that the program ends with."""

    def leave(status: Any = None, /) -> NoReturn:
        """Exit the interpreter by raising SystemExit(status)."""
        raise _Exit(status)

    sys.exit = leave


class _ExitStatus:
    """Makes the exit status 1: goes last of all, with the module ``sys``."""

    def __init__(self, losses: Counting) -> None:
        self.losses = losses

    def __del__(self, leave=os._exit, over=sys.is_finalizing) -> None:  # type: ignore[no-untyped-def]
        if self.losses.count and over():
            leave(1)


def fail_at_the_end(losses: Counting) -> None:
    """Make the exit status 1 if there are ``losses`` in the end, unless the program gave another status."""
    if not any(_given):
        sys._laila_exit_status = _ExitStatus(losses)  # type: ignore[attr-defined]


def fail_child() -> None:
    """End a process of :mod:`multiprocessing` with status 1, unless it ends with another already."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "_bootstrap":
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or frame.f_locals.get("exitcode", 0):
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(1)
