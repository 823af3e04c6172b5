"""Tasks whose entries are memorized where they run, so that only their ids come back."""

from __future__ import annotations

from laila.active import get_active_policy
from laila.entry import Entry
from laila.errors import FutureResultError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["memorizing"]


def memorizing(fn: Callable[[], Any], pool: str) -> Callable[[], Any]:
    """Return a task that does ``fn`` and memorizes what it returns to the pool with the nickname ``pool``.

    Raises :class:`~laila.errors.PoolNotFoundError` where the active policy has no such pool.
    """
    get_active_policy().central.memory.check_pool(pool)
    return _Memorizing(fn, pool)


class _Memorizing:
    """A class and no closure, so that it pickles by name; ``func`` is what a partial calls it, too."""

    def __init__(self, func: Callable[[], Any], pool: str) -> None:
        self.func = func
        self.pool = pool

    def __call__(self) -> Any:
        made = self.func()
        several = isinstance(made, list | tuple)
        if not all(isinstance(entry, Entry) for entry in (made if several else (made,))):
            raise FutureResultError(
                f"memorize_to={shown(self.pool)} is for tasks that return an Entry or a list of entries; "
                "this one "
                f"returned a {type(made).__name__}: return laila.constant(…)"
            )
        return get_active_policy().central.memory.memorize(made, pool_nickname=self.pool).wait()
