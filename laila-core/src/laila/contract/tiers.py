"""Chains of pools: ``cache << origin``, and how a blob is found, filed and deleted along them.

A pool may have an origin. A key missing in a pool is looked for in its origin, and so on; on the way back
every tier keeps a copy. A failing or damaged cache tier is skipped and reported, never the cause of a failed
read. When ``write="through"`` stands at the head, the chain is one store: the last tier is written first and
decides, the caches are filled after it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from enum import Enum
from threading import Event, Lock
from time import monotonic
from weakref import WeakValueDictionary

from laila.errors import InvalidArgumentError, LailaError, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet
    from typing import TypeVar, cast

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool

    T = TypeVar("T")
    Found = Blob | BaseException | None
else:

    def cast(_: object, value: object) -> object:
        return value


__all__ = ["StoreOutcome", "TierCounter", "TierMixin"]


class StoreOutcome(Enum):
    """What became of one blob that was to be stored."""

    CREATED = "created"
    """It was not there and is now, or was replaced as asked."""
    SAME = "same"
    """The same content was there already; nothing was written."""
    CONFLICT = "conflict"
    """Another content is there; nothing was written."""


class TierCounter:
    """How often a tier had what it was asked for. Exact under threads."""

    __slots__ = ("_lock", "hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.renew_lock()

    def renew_lock(self) -> None:
        """Make the lock, also in a forked child, where nobody is left who might hold it."""
        self._lock = Lock()

    def count(self, hits: int, misses: int) -> None:
        """Add to both counters."""
        with self._lock:
            self.hits += hits
            self.misses += misses


class _Flight:
    """One fetch of one key from the origin, which every thread that misses the key waits for."""

    __slots__ = ("done", "fill", "found")

    def __init__(self) -> None:
        self.done = Event()
        self.fill = True  # cleared when the key is deleted meanwhile: what arrives must not be kept
        self.found: Found = None


_REPORT_SECONDS = 60.0
_tiers: WeakValueDictionary[int, TierMixin] = WeakValueDictionary()


class TierMixin(ABC):
    """The part of a pool that knows the next tier.

    ``load``, ``store``, ``delete``, ``newest`` and ``history`` are what the verbs call: the whole chain where
    that is what the chain means, else this pool alone.
    """

    _counter: TierCounter

    @abstractmethod
    def load_here(self, keys: Sequence[str]) -> list[Found]:
        """Read plain blobs from this pool alone."""

    @abstractmethod
    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File plain blobs in this pool alone."""

    @abstractmethod
    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete in this pool alone."""

    def _init_tiers(self, *, write_through: bool) -> None:
        self._origin: Pool | None = None
        self._write_through = write_through
        self._counter = TierCounter()
        self._unreported = 0
        self._report_after = 0.0
        self._init_locks()
        _tiers[id(self)] = self

    def _init_locks(self) -> None:
        """Make the locks; again in a forked child, where nobody is left who held one, or fetched."""
        self._counter.renew_lock()
        self._create_lock = Lock()
        self._flights: dict[str, _Flight] = {}
        self._flight_lock = Lock()
        self._fill_lock = Lock()

    # -- the chain itself ------------------------------------------------------------------------------------

    @property
    def _me(self) -> Pool:
        return cast("Pool", self)

    @property
    def proxy_to(self) -> Pool | None:
        """The origin that this pool caches, or None. Assigning links; a cycle is a ``ValueError``."""
        return self._origin

    @proxy_to.setter
    def proxy_to(self, origin: Pool | None) -> None:
        if origin is not None:
            if not isinstance(origin, TierMixin):
                raise InvalidArgumentError(f"the origin of a pool is a pool, not {type(origin).__name__}")
            if any(tier is self for tier in origin.chain()):
                raise SettingsError(
                    f"{self._me.label!r} << {origin.label!r} would close a cycle: "
                    + " << ".join(tier.label for tier in origin.chain()),
                    option="proxy_to",
                )
        self._origin = origin

    def _set_proxy(self, cache: Pool) -> None:
        if not isinstance(cache, TierMixin):
            raise InvalidArgumentError(f"the proxy of a pool is a pool, not {type(cache).__name__}")
        cache.proxy_to = self._me

    proxy = property(
        None, _set_proxy, doc="Write-only: ``origin.proxy = cache`` makes it a cache of ``origin``."
    )

    def __lshift__(self, other: Pool) -> Pool:
        """``cache << origin``: become a cache of the other, which is returned, so that chains read on."""
        if not isinstance(other, TierMixin):
            return NotImplemented
        self.proxy_to = other
        return other

    def __rshift__(self, other: Pool) -> Pool:
        """``origin >> cache``: the same link said from the other side; returns the cache."""
        if not isinstance(other, TierMixin):
            return NotImplemented
        other.proxy_to = self._me
        return other

    def chain(self) -> list[Pool]:
        """Return this pool and its origins, nearest first."""
        tiers = [self._me]
        while (origin := tiers[-1].proxy_to) is not None:
            tiers.append(origin)
        return tiers

    @property
    def write_through(self) -> bool:
        """Whether the chain that begins here is one store: see :func:`laila.tiers`. Assignable."""
        return self._write_through

    @write_through.setter
    def write_through(self, through: bool) -> None:
        self._write_through = bool(through)

    @property
    def hits(self) -> int:
        """How many keys were found in this tier."""
        return self._counter.hits

    @property
    def misses(self) -> int:
        """How many keys were looked for in this tier and not found."""
        return self._counter.misses

    # -- what the verbs call ---------------------------------------------------------------------------------

    def load(self, keys: Sequence[str]) -> list[Found]:
        """Read plain blobs along the chain: for each key the blob, None where it is nowhere, or its error.

        Raises what the last tier's backend raises. Each key missing here is fetched from the origin once,
        however many threads miss it, and kept here.
        """
        origin = self._origin
        if origin is None:
            found = self.load_here(keys)
            absent = found.count(None)
            self._counter.count(len(found) - absent, absent)
            return found
        nothing: list[Found] = [None] * len(keys)
        found = self._guarded("read", len(keys), lambda: self.load_here(keys), nothing)
        # What this copy lost is still at the origin: damage here is a miss, and the fill repairs it.
        damaged: set[str] = set()
        for i, one in enumerate(found):
            if isinstance(one, Exception):
                self._report("read", one)
                damaged.add(keys[i])
                found[i] = None
        missing = [key for key, one in zip(keys, found, strict=True) if one is None]
        self._counter.count(len(keys) - len(missing), len(missing))
        if not missing:
            return found
        fetched = self._fetch(list(dict.fromkeys(missing)), origin, damaged)
        return [fetched[key] if one is None else one for key, one in zip(keys, found, strict=True)]

    def store(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File plain blobs: in the last tier and then in the caches when the chain is one store, else here.

        Says of each what became of it; the error of one that cannot be compared with what is there is its
        own.
        """
        if self._origin is None or not self._write_through:
            return self.store_here(blobs, replace=replace)
        *caches, last = self.chain()
        outcomes = last.store_here(blobs, replace=replace)
        kept = (StoreOutcome.CREATED, StoreOutcome.SAME)
        stored = [blob for blob, outcome in zip(blobs, outcomes, strict=True) if outcome in kept]
        for cache in reversed(caches):
            cache._renew(stored, replaced=replace)
        return outcomes

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys``: in every tier, the last one first, when the chain is one store, else here.

        Where the last tier fails nothing was deleted. A cache that fails is an error too, since it may still
        have what was deleted; the other caches are emptied all the same.
        """
        if self._origin is None or not self._write_through:
            return self._delete_tier(keys)
        *caches, last = self.chain()
        deleted = last._delete_tier(keys)
        failure: Exception | None = None
        for cache in reversed(caches):
            try:
                answers = cache._delete_tier(keys)
            except Exception as error:  # noqa: BLE001 - the other tiers are emptied first; raised below
                failure = failure or error
                continue
            deleted = [before or now for before, now in zip(deleted, answers, strict=True)]
        if failure is not None:
            raise failure
        return deleted

    def newest(self, stems: Sequence[str]) -> list[str | None]:
        """Return for each of ``stems`` the key of its newest evolution, or None; see :meth:`history`."""
        nothing: list[str | None] = [None for _ in stems]
        answers = self._asked(lambda tier: tier.newest_here(stems), nothing)
        return [
            max(
                (key for key in some if key is not None),
                key=lambda key: int(key.rpartition("-")[2]),
                default=None,
            )
            for some in zip(*answers, strict=True)
        ]

    def history(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` its stored evolutions, ascending.

        The last tier is asked, whose failure is raised; where the chain is no one store, caches may have
        evolutions of their own and are asked too.
        """
        nothing: list[list[int]] = [[] for _ in stems]
        answers = self._asked(lambda tier: tier.histories_here(stems), nothing)
        return [sorted(set().union(*some)) for some in zip(*answers, strict=True)]

    def deletable(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` the evolutions that :meth:`delete` reaches, ascending."""
        tiers = self.chain() if self._write_through else [self._me]
        answers = [tier.histories_here(stems) for tier in tiers]
        return [sorted(set().union(*some)) for some in zip(*answers, strict=True)]

    # -- one tier --------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[Pool], T], otherwise: T) -> list[T]:
        *caches, last = self.chain()
        answers = [ask(last)]
        if not self._write_through:
            answers += [cache._guarded("list", 1, lambda c=cache: ask(c), otherwise) for cache in caches]  # type: ignore[misc]
        return answers

    def _delete_tier(self, keys: Sequence[str]) -> list[bool]:
        # A fill that is being written is waited for, and then deleted; one that comes later is dropped.
        with self._fill_lock, self._flight_lock:
            for key in keys:
                if (flight := self._flights.get(key)) is not None:
                    flight.fill = False
        return self.delete_here(keys)

    def _fetch(self, keys: Sequence[str], origin: Pool, damaged: AbstractSet[str]) -> dict[str, Found]:
        """Fetch ``keys`` from the origin, sharing the fetches that other threads have under way."""
        mine: dict[str, _Flight] = {}
        theirs: dict[str, _Flight] = {}
        with self._flight_lock:
            for key in keys:
                flight = self._flights.get(key)
                if flight is None:
                    mine[key] = self._flights[key] = _Flight()
                else:
                    theirs[key] = flight
        try:
            if mine:
                for flight, one in zip(mine.values(), origin.load(list(mine)), strict=True):
                    flight.found = one
                self._fill(mine, damaged)
        except BaseException as error:
            for flight in mine.values():
                flight.found = error
            raise
        finally:
            # Our own are finished before others' are waited for: two threads never wait for each other.
            with self._flight_lock:
                for key in mine:
                    del self._flights[key]
            for flight in mine.values():
                flight.done.set()
        for flight in theirs.values():
            flight.done.wait()
        found = {key: flight.found for key, flight in (mine | theirs).items()}
        # A thread that was interrupted (Ctrl-C) fetched nothing for us: its interruption is not our outcome.
        again = [
            k for k, one in found.items() if isinstance(one, BaseException) and not isinstance(one, Exception)
        ]
        return found | self._fetch(again, origin, damaged) if again else found

    def _fill(self, flights: dict[str, _Flight], damaged: AbstractSet[str]) -> None:
        """Keep copies of what was fetched; what fails is reported and costs only the copy."""

        def write() -> None:
            with self._fill_lock:
                blobs = [f.found for f in flights.values() if f.fill and _is_blob(f.found)]
                fresh = [blob for blob in blobs if blob.key not in damaged]
                # What another writer filed here meanwhile stays; only a damaged copy is replaced.
                if fresh:
                    self.store_here(fresh)
                if len(fresh) < len(blobs):
                    self.store_here([blob for blob in blobs if blob.key in damaged], replace=True)

        self._guarded("fill", len(flights), write, None)

    def _renew(self, blobs: Sequence[Blob], *, replaced: bool) -> None:
        """Hold ``blobs``, which the last tier has just stored, in this cache tier.

        Where they replace others there and this tier can neither hold nor delete them, it would go on giving
        the old ones: that is raised.
        """
        try:
            if blobs:
                self.store_here(blobs, replace=True)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does
            self._report("fill", error, len(blobs))
            if replaced:
                self._delete_tier([blob.key for blob in blobs])

    def _guarded(self, verb: str, count: int, call: Callable[[], T], otherwise: T) -> T:
        """Call a cache tier; where it fails, report it and answer ``otherwise``."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does; the chain goes on
            self._report(verb, error, count)
            return otherwise

    def _report(self, verb: str, error: Exception, count: int = 1) -> None:
        # A cache that is down fails at every call: once a minute says as much as a thousand times.
        now = monotonic()
        self._unreported += count
        if now < self._report_after:
            return
        count, self._unreported, self._report_after = self._unreported, 0, now + _REPORT_SECONDS
        from logging import getLogger

        getLogger("laila.pool").warning(
            "cache tier %s could not %s %d item(s) and was skipped: %s", self._me.label, verb, count, error
        )


if TYPE_CHECKING:
    from typing import TypeGuard


def _is_blob(found: Found) -> TypeGuard[Blob]:
    return found is not None and not isinstance(found, BaseException)


def _after_fork() -> None:
    for tier in list(_tiers.values()):
        tier._init_locks()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_after_fork)
