"""The bank: futures looked up by id.

Only a future that was asked for its id is known here. While it is pending the bank keeps it alive; of those
that have settled it keeps the last ones, bounded in number and in bytes. A future that somebody else keeps
alive is found however long ago it settled.
"""

from __future__ import annotations

import sys
from weakref import WeakValueDictionary

from laila.errors import FutureNotFoundError, InvalidArgumentError
from laila.futures.base import FutureBase
from laila.futures.failure import Failure
from laila.futures.outcomes import Outcomes
from laila.identity import Identifiable, parse_global_id
from laila.locks import mutex
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from laila.futures.future import Future
    from laila.futures.group import GroupFuture

    AnyFuture: TypeAlias = "Future[Any] | GroupFuture[Any]"
    FutureRef: TypeAlias = "AnyFuture | FutureIdentity | str"

__all__ = ["FutureBank", "FutureIdentity", "future_bank", "resolve"]

_SAMPLE = 1000


class FutureBank:
    """Futures by id, with at most ``limit`` settled ones of at most ``max_bytes`` (estimated) kept alive.

    Safe to use from any number of threads. ``len(bank)`` counts the futures it keeps alive.
    """

    def __init__(self, limit: int = 1024, max_bytes: int = 64 * 2**20) -> None:
        self.limit = limit
        self.max_bytes = max_bytes
        self._known: WeakValueDictionary[str, FutureBase[Any]] = WeakValueDictionary()
        self._pending: dict[str, FutureBase[Any]] = {}
        self._settled: dict[str, tuple[FutureBase[Any], int]] = {}  # oldest first
        self._bytes = 0

    def add(self, future: FutureBase[Any]) -> None:
        """Make a future known by its id. Asking a future for its id does this too.

        Args:
            future: The future or group.
        """
        key = future._uuid
        with mutex:
            if future._banked:
                return
            self._known[key] = future
            self._pending[key] = future
            future._banked = True
        # A future tells the bank itself, now that it is marked; a group has to be listened to. Either may
        # have settled a moment before.
        if future._is_settled() or (future._scopes == ("GROUP_FUTURE",) and not future._listen(self.settled)):
            self.settled(future)

    def settled(self, future: FutureBase[Any]) -> None:
        """Note that a future has settled: from now on it is kept only as long as there is room.

        Args:
            future: The future or group.
        """
        key = future._uuid
        size = _size(future)
        gone: list[object] = []  # dropped after the lock is: what goes with them may run code
        with mutex:
            if self._pending.pop(key, None) is None:
                return
            self._settled[key] = (future, size)
            self._bytes += size
            while self._settled and (len(self._settled) > self.limit or self._bytes > self.max_bytes):
                oldest = next(iter(self._settled))
                dropped = self._settled.pop(oldest)
                self._bytes -= dropped[1]
                gone.append(dropped)
        del gone

    def get(self, global_id: str) -> AnyFuture | None:
        """Look a future up by its id.

        Args:
            global_id: The global id of the future or group.

        Returns:
            The future; None if no future with this id is known any more.

        Raises:
            IdentityError: ``global_id`` is not a global id (a ``ValueError``).
        """
        scopes, uuid, _ = parse_global_id(global_id)
        future: Any = self._known.get(uuid)
        return future if future is not None and future._scopes == scopes else None

    def __getitem__(self, ref: FutureRef) -> AnyFuture:
        """Return the future that ``ref`` (a future, a group, an identity, a global id) means.

        Raises:
            FutureNotFoundError: When none is known under that id (a ``KeyError``).
        """
        if isinstance(ref, FutureBase):
            return ref
        if isinstance(ref, FutureIdentity):
            return ref.future
        if not isinstance(ref, str):
            raise InvalidArgumentError(
                f"expected a future, a group, a future_identity or a global id, not {type(ref).__name__}"
            )
        future = self.get(ref)
        if future is None:
            raise FutureNotFoundError(
                f"no future is known as {shown(ref)}: it settled long ago (the last {self.limit:,} are "
                "kept), "
                "or belongs to another process; keep the future, or its future_identity, for as long as you "
                "need it",
                key=ref,
            )
        return future

    def __contains__(self, ref: object) -> bool:
        if isinstance(ref, FutureBase):
            return self._known.get(ref._uuid) is ref
        if isinstance(ref, FutureIdentity):
            ref = ref.global_id
        return isinstance(ref, str) and self.get(ref) is not None

    def __len__(self) -> int:
        return len(self._pending) + len(self._settled)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return (
            f"<FutureBank: {len(self._pending)} pending, {len(self._settled)} settled, {self._bytes:,} bytes>"
        )


class FutureIdentity(Identifiable):
    """The name of a future: small, picklable, and, in the process of the future, what keeps it alive.

    In another process it is a name only: asking it for its future raises
    :class:`~laila.errors.FutureNotFoundError`.
    """

    __slots__ = ("_future",)

    def __init__(self, global_id: str) -> None:
        scopes, uuid, evolution = parse_global_id(global_id)
        self._scopes = scopes
        self._uuid = uuid
        self._evolution = evolution
        self._nickname = None
        self._future = future_bank.get(global_id)

    @classmethod
    def of(cls, future: FutureBase[Any]) -> FutureIdentity:
        """Make the identity of a future.

        Args:
            future: The future or group.

        Returns:
            Its identity.
        """
        return cls(future.global_id)

    @property
    def future(self) -> AnyFuture:
        """The future itself; raises :class:`~laila.errors.FutureNotFoundError` where it is not known."""
        if self._future is None:
            self._future = future_bank[self.global_id]
        return self._future

    def __reduce__(self) -> tuple[type[FutureIdentity], tuple[str]]:
        return type(self), (self.global_id,)

    def __repr__(self) -> str:
        return f"<FutureIdentity {self.global_id}>"


future_bank = FutureBank()
"""The bank of this process."""


def resolve(ref: FutureRef) -> AnyFuture:
    """Return the future that ``ref`` means; see :meth:`FutureBank.__getitem__`."""
    return future_bank[ref]


def _size(future: FutureBase[Any]) -> int:
    """Estimate the bytes that a settled future keeps alive."""
    parts = getattr(future, "_parts", None)
    if parts is None:
        return _estimate(getattr(future, "_value", None))
    return sum(_estimate(getattr(getattr(part, "source", part), "_value", None)) for part in parts)


def _estimate(value: object, depth: int = 4) -> int:
    if value is None or isinstance(value, bool | int | float | Failure):
        return 64
    if isinstance(value, Outcomes):
        value = value.values
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes + 64
    size = sys.getsizeof(value, 64)
    if depth and isinstance(value, list | tuple | set | frozenset | dict):
        # The first items stand for all: an estimate must not cost more than what it guards against.
        items = list(value.values()) if isinstance(value, dict) else list(value)
        sample = items[:_SAMPLE]
        inside = sum(_estimate(item, depth - 1) for item in sample)
        size += inside * len(items) // max(len(sample), 1)
    elif depth and getattr(value, "_scopes", None) == ("ENTRY",):
        size += _estimate(getattr(value, "data", None), depth - 1)
    return size
