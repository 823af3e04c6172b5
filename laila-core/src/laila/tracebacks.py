"""Local variables in tracebacks: tools that record them would record passwords.

``traceback.TracebackException(capture_locals=True)``, ``pytest -l`` and services that collect errors write
down the local variables of each frame. Functions that are given secrets empty laila's frames before an error
leaves them. The caller's own frames stay as they are.
"""

from __future__ import annotations

from contextlib import suppress
from functools import wraps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["empty_frames", "given_secrets"]

_EMPTIED = frozenset(("laila", "redis", "websockets"))
"""The packages whose frames are emptied."""


def empty_frames(error: BaseException) -> None:
    """Forget the local variables of laila's frames that ``error`` and its causes passed, if they have ended.

    Args:
        error: The error. Its traceback keeps its lines.
    """
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        errors += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            errors += one.exceptions
        trace = one.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            if str(frame.f_globals.get("__name__")).partition(".")[0] in _EMPTIED:
                with suppress(RuntimeError):  # it still runs: its function empties it, or has no secret
                    frame.clear()
            trace = trace.tb_next


def given_secrets(function: Callable[P, T]) -> Callable[P, T]:
    """Have an error of ``function``, which is given secrets, leave with no local variables of laila's.

    Args:
        function: The function.

    Returns:
        A function that calls it, with the same signature.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            empty_frames(error)
            raise

    return call
