"""Asking for a future by whatever names it: itself, its group, its identity or its id."""

from __future__ import annotations

from laila.futures.bank import future_bank, resolve
from laila.futures.states import FutureStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.futures.bank import FutureRef
    from laila.futures.states import GroupStatus

__all__ = ["Runtime", "runtime", "status", "wait"]


class Runtime:
    """The futures of this process, found by future, group, ``future_identity`` or global id."""

    __slots__ = ()

    def status(self, future_ref: FutureRef) -> FutureStatus | GroupStatus:
        """Return the status of a future or group; ``unknown`` for an id under which none is known."""
        if isinstance(future_ref, str) and future_bank.get(future_ref) is None:
            return FutureStatus.UNKNOWN
        return resolve(future_ref).status

    def result(self, future_ref: FutureRef) -> Any:
        """Return the result, waiting for it if need be; raises what the work raised.

        Raises:
            FutureNotFoundError: When no future is known under that id (a ``KeyError``).
        """
        return resolve(future_ref).result

    def exception(self, future_ref: FutureRef) -> BaseException | None:
        """Return what the work raised or None, waiting for its end if need be.

        Raises:
            FutureNotFoundError: When no future is known under that id (a ``KeyError``).
        """
        return resolve(future_ref)._settled_error()

    def wait(self, future_ref: FutureRef, timeout: float | None = None) -> Any:
        """Wait ``timeout`` seconds at most and return the result; raises what the work raised.

        Raises:
            FutureNotFoundError: When no future is known under that id (a ``KeyError``).
            FutureTimeoutError: When time is up (a ``TimeoutError``). The work goes on.
        """
        return resolve(future_ref).wait(timeout)

    def __repr__(self) -> str:
        return f"<laila.runtime: {future_bank!r}>"


runtime = Runtime()
"""The one instance, ``laila.runtime``."""


def wait(future_ref: FutureRef, timeout: float | None = None) -> Any:
    """Wait for a future, also as ``laila.runtime.wait``. Blocks.

    Args:
        future_ref: A future, group, identity or id.
        timeout: Seconds to wait at most; None waits until it is done.

    Returns:
        What the work gave.
    """
    return runtime.wait(future_ref, timeout)


def status(future_ref: FutureRef) -> FutureStatus | GroupStatus:
    """Look up the status of a future, also as ``laila.runtime.status``. Does not block.

    Args:
        future_ref: A future, group, identity or id.

    Returns:
        The status.
    """
    return runtime.status(future_ref)
