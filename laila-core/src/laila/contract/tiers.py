"""Chains of pools: ``cache << origin``, and how a blob is found, filed and deleted along them.

A pool may have an origin. A key missing in a pool is looked for in its origin, and so on; on the way back
every tier keeps a copy. A failing or damaged cache tier is skipped and reported, never the cause of a failed
read. When ``write="through"`` stands at the head, the chain is one store: the last tier is written first and
decides, the caches are filled after it.
"""

from __future__ import annotations

from threading import Event, Lock

from laila.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import cast

    from laila.contract.blob import Blob
    from laila.contract.pool import Pool, StoreOutcome
else:

    def cast(_: object, value: object) -> object:
        return value


__all__ = ["TierCounter", "TierMixin"]


class TierCounter:
    """How often a tier had what it was asked for. Exact under threads."""

    __slots__ = ("_lock", "hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
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
        self.found: Blob | BaseException | None = None


class TierMixin:
    """The part of a pool that knows the next tier.

    ``load``, ``store``, ``delete``, ``newest`` and ``history`` are what the verbs call: the whole chain where
    that is what the chain means, else this pool alone.
    """

    _counter: TierCounter

    def _init_tiers(self, *, write_through: bool) -> None:
        self._origin: Pool | None = None
        self._write_through = write_through
        self._flights: dict[str, _Flight] = {}
        self._flight_lock = Lock()
        self._fill_lock = Lock()

    # -- the chain itself -------------------------------------------------------------------------------------

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
                raise TypeError(f"the origin of a pool is a pool, not {type(origin).__name__}")
            if any(tier is self for tier in origin.chain()):
                raise SettingsError(
                    f"{self._me.label!r} << {origin.label!r} would close a cycle: "
                    + " << ".join(tier.label for tier in origin.chain()),
                    option="proxy_to",
                )
        self._origin = origin

    def _set_proxy(self, cache: Pool) -> None:
        if not isinstance(cache, TierMixin):
            raise TypeError(f"the proxy of a pool is a pool, not {type(cache).__name__}")
        cache.proxy_to = self._me

    proxy = property(None, _set_proxy, doc="Write-only: ``origin.proxy = cache`` makes ``cache`` a cache of ``origin``.")

    def __lshift__(self, other: Pool) -> Pool:
        """``cache << origin``: this pool becomes a cache of the other, which is returned, so that chains read on."""
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

    # -- what the verbs call ----------------------------------------------------------------------------------

    def load(self, keys: Sequence[str]) -> list[Blob | BaseException | None]:
        """Read plain blobs along the chain: for each key the blob, None where it is nowhere, or its error.

        Raises what the last tier's backend raises. Each key missing here is fetched from the origin once,
        however many threads miss it, and kept here.
        """
        if self._origin is None:
            found = self._load_tier(keys)
        else:
            found = self._cached(keys, "read", lambda: self._load_tier(keys), [None] * len(keys))
            # What this copy lost is still at the origin: damage here is a miss, and gets repaired by the fill.
            for i, one in enumerate(found):
                if isinstance(one, Exception):
                    self._report("read", one)
                    found[i] = None
        missing = [key for key, one in zip(keys, found, strict=True) if one is None]
        self._counter.count(len(keys) - len(missing), len(missing))
        if not missing or self._origin is None:
            return found
        fetched = self._fetch(list(dict.fromkeys(missing)), self._origin)
        return [fetched[key] if one is None else one for key, one in zip(keys, found, strict=True)]

    def store(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome]:
        """File plain blobs: in the last tier and then in the caches when the chain is one store, else here."""
        if self._origin is None or not self._write_through:
            return self._me.store_here(blobs, replace=replace)
        *caches, last = self.chain()
        outcomes = last.store_here(blobs, replace=replace)
        keep = [blob for blob, outcome in zip(blobs, outcomes, strict=True) if outcome is not type(outcome).CONFLICT]
        if keep:
            for cache in reversed(caches):
                cache._fill(keep)
        return outcomes

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys``: in every tier, the last one first, when the chain is one store, else here."""
        if self._origin is None or not self._write_through:
            return self._delete_tier(keys)
        deleted = [False] * len(keys)
        failure: Exception | None = None
        for tier in reversed(self.chain()):
            try:
                answers = tier._delete_tier(keys)
            except Exception as error:  # the other tiers are still emptied; raised below
                failure = failure or error
                continue
            deleted = [before or now for before, now in zip(deleted, answers, strict=True)]
        if failure is not None:
            raise failure
        return deleted

    def history(self, stem: str) -> list[int]:
        """Return the evolutions of ``stem`` that the chain holds, ascending. The last tier must answer."""
        *caches, last = self.chain()
        numbers = set(last.history_here(stem))
        for cache in caches:
            numbers.update(cache._cached([stem], "list", lambda c=cache: c.history_here(stem), []))  # type: ignore[misc]
        return sorted(numbers)

    def newest(self, stem: str) -> str | None:
        """Return the key of the newest evolution of ``stem`` in the chain, or None. The last tier must answer."""
        *caches, last = self.chain()
        keys = [last._newest(stem)]
        for cache in caches:
            keys.append(cache._cached([stem], "list", lambda c=cache: c._newest(stem), None))  # type: ignore[misc]
        return max((key for key in keys if key is not None), key=lambda key: int(key.rpartition("-")[2]), default=None)

    # -- one tier ---------------------------------------------------------------------------------------------

    def _load_tier(self, keys: Sequence[str]) -> list[Blob | BaseException | None]:
        return self._me.load_here(keys)

    def _delete_tier(self, keys: Sequence[str]) -> list[bool]:
        with self._fill_lock:
            with self._flight_lock:
                for key in keys:
                    if (flight := self._flights.get(key)) is not None:
                        flight.fill = False
            return self._me.delete_here(keys)

    def _fetch(self, keys: Sequence[str], origin: Pool) -> dict[str, Blob | BaseException | None]:
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
                for key, one in zip(mine, origin.load(list(mine)), strict=True):
                    mine[key].found = one
                self._fill([one.found for one in mine.values() if _is_blob(one.found)], mine)
        except BaseException as error:
            for flight in mine.values():
                flight.found = error
            raise
        finally:
            # Our own are finished before the others' are waited for, so two threads never wait for each other.
            with self._flight_lock:
                for key in mine:
                    del self._flights[key]
            for flight in mine.values():
                flight.done.set()
        for flight in theirs.values():
            flight.done.wait()
        return {key: flight.found for key, flight in (mine | theirs).items()}

    def _fill(self, blobs: Sequence[Blob], flights: dict[str, _Flight] | None = None) -> None:
        """Keep copies of ``blobs`` in this cache tier; what fails is reported and costs only the copy."""

        def write() -> None:
            with self._fill_lock:
                keep = [blob for blob in blobs if flights is None or flights[blob.key].fill]
                if keep:
                    self._me.store_here(keep, replace=True)

        if blobs:
            self._cached(blobs, "fill", write, None)

    def _cached(self, what: Sequence[object], verb: str, call: Callable[[], T], otherwise: T) -> T:
        """Call a cache tier; where it fails, report it and answer ``otherwise``."""
        try:
            return call()
        except Exception as error:  # a cache tier may fail in any way its backend does; the chain goes on
            self._report(verb, error, len(what))
            return otherwise

    def _report(self, verb: str, error: Exception, count: int = 1) -> None:
        from logging import getLogger

        getLogger("laila.pool").warning(
            "cache tier %s could not %s %d item(s) and was skipped: %s", self._me.label, verb, count, error
        )


def _is_blob(found: object) -> bool:
    return found is not None and not isinstance(found, BaseException)
