"""Steps that are all done, whichever of them fails: parts that are closed, tiers that are renewed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["do_all"]


def do_all(steps: Iterable[Callable[[], object]]) -> None:
    """Do every step, and raise the first error when all are done.

    An interrupt ends it at once.

    Args:
        steps: Functions without arguments.

    Raises:
        Exception: What the first step that failed raised. The errors of later steps are dropped.
    """
    failure: Exception | None = None
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the other steps are done first; raised below
            failure = failure or error
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it would keep this frame alive, and with it the steps
