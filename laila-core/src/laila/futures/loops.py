"""Event loops: which one runs in this thread, whether a call would hold it up, and how trio is waited in.

This module imports neither asyncio nor trio: a running loop has imported its library.
"""

from __future__ import annotations

import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType
    from typing import Any, Protocol

    class Listened(Protocol):
        """What :func:`wait_in_trio` waits for."""

        def _listen(self, listener: Callable[[Any], object], *, first: bool = False) -> bool: ...
        def _unlisten(self, listener: Callable[[Any], object]) -> None: ...


__all__ = ["loop_is_held_up", "loop_runs_here", "running_trio", "wait_in_trio", "warn_of_held_loop"]

_COROUTINE = 0x80 | 0x200  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR
# These run cells inside their own event loop: what blocks there is the cell, as its author wants it to.
_SHELLS = frozenset({"IPython", "ipykernel", "asyncio.__main__", "marimo"})


def running_trio() -> Any:
    """Return the module ``trio`` where trio runs the calling thread, else None."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_trio_token()
    except (RuntimeError, AttributeError):  # not in trio; half imported
        return None
    return trio


def loop_runs_here() -> bool:
    """Whether an event loop (asyncio, uvloop, trio) runs in the calling thread."""
    asyncio = sys.modules.get("asyncio.events")
    get = getattr(asyncio, "_get_running_loop", None)
    return (get is not None and get() is not None) or running_trio() is not None


def loop_is_held_up() -> bool:
    """Whether an event loop stands still for as long as the caller blocks.

    A cell of a notebook is none: the notebook's own loop runs it, and waits for it.
    """
    if not loop_runs_here():
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & _COROUTINE:
            name = str(frame.f_globals.get("__name__", ""))
            cell = frame.f_code.co_name == "<module>"  # one with an await at its top level
            return not (cell or name in _SHELLS or name.partition(".")[0] in _SHELLS)
        frame = frame.f_back
    return True  # a callback of the loop


def warn_of_held_loop() -> None:
    """Tell the author of a coroutine that a wait blocks the event loop."""
    import warnings

    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "laila":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(
        "waiting for a future in a coroutine holds up the event loop, and all that runs in it: `await` the "
        "future (or `async with laila.guarantee_async:`) in place of .result, .data, .wait() and `with "
        "laila.guarantee:`",
        RuntimeWarning,
        stacklevel=depth,
    )


def wait_in_trio(trio: Any, future: Listened) -> Generator[Any, None, None]:
    """Let trio go on until ``future`` has settled, whichever thread settles it; may be cancelled."""
    token = trio.lowlevel.current_trio_token()
    settled = trio.Event()

    def tell_loop(_future: object) -> None:
        with suppress(trio.RunFinishedError):  # nobody is left who waits
            token.run_sync_soon(settled.set)

    if not future._listen(tell_loop, first=True):
        return
    try:
        yield from settled.wait().__await__()
    finally:
        future._unlisten(tell_loop)
