"""Chains of pools: ``cache << origin``, and how a blob is found, filed and deleted along them.

A pool may have an origin. A key missing in a pool is looked for in its origin, and so on; on the way back
every tier keeps a copy. A failing or damaged cache tier is skipped and reported, never the cause of a failed
read. When ``write="through"`` stands at the head, the chain is one store: the last tier is written first and
decides, the caches are filled after it.

Threads wait for each other down the chain only: who fetches for a tier may wait for a fetch of the next one,
never the other way round, and ends its own fetches before it waits for others' of the same tier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from functools import partial

from laila.errors import LailaError
from laila.forks import Renewed
from laila.locks import long_lock
from laila.tiering.counters import Throttle, TierCounter
from laila.tiering.links import LinkMixin
from laila.tiering.single_flight import Flight, Flights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import TypeVar

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.tiering.single_flight import Renewal

    T = TypeVar("T")
    Found = Blob | BaseException | None

__all__ = ["StoreOutcome", "TierMixin"]


class StoreOutcome(Enum):
    """What became of one blob that was to be stored."""

    CREATED = "created"
    """It was not there and is now, or was replaced as asked."""
    SAME = "same"
    """The same content was there already; nothing was written."""
    CONFLICT = "conflict"
    """Another content is there; nothing was written."""


_tiers: Renewed[TierMixin] = Renewed(lambda tier: tier._init_locks())


class TierMixin(LinkMixin, ABC):
    """The part of a pool that knows the next tier.

    ``load``, ``store``, ``delete``, ``newest`` and ``history`` are what the verbs call: the whole chain where
    that is what the chain means, else this pool alone.
    """

    _counter: TierCounter

    @abstractmethod
    def load_here(self, keys: Sequence[str], *, later: bool = False, views: bool = False) -> list[Found]:
        """Read plain blobs from this pool alone."""

    @abstractmethod
    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File plain blobs in this pool alone."""

    @abstractmethod
    def store_together_here(self, blobs: Sequence[Blob]) -> bool:
        """File plain blobs in this pool alone, in one commit, or none of them."""

    @abstractmethod
    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete in this pool alone."""

    def _init_tiers(self, *, write_through: bool) -> None:
        self._origin = None
        self._write_through = write_through
        self._counter = TierCounter()
        self._failures = Throttle()
        self._init_locks()
        _tiers.add(self)

    def _init_locks(self) -> None:
        """Make the locks; again in a forked child, where nobody is left who held one, or fetched."""
        self._create_lock = long_lock()
        self._flights = Flights()
        self._fill_lock = long_lock()

    # -- what it counts -------------------------------------------------------------------------------------

    @property
    def hits(self) -> int:
        """How many keys were found in this tier."""
        return self._counter.hits

    @property
    def misses(self) -> int:
        """How many keys were looked for in this tier and not found."""
        return self._counter.misses

    @property
    def fills(self) -> int:
        """How many copies this tier has kept of what was found in the next ones."""
        return self._counter.fills

    @property
    def failures(self) -> int:
        """For how many items this tier was skipped, because it failed or its copy was damaged."""
        return self._counter.failures

    # -- what the verbs call ---------------------------------------------------------------------------------

    def load(
        self, keys: Sequence[str], *, refresh: bool = False, later: bool = False, views: bool = False
    ) -> list[Found]:
        """Read plain blobs along the chain: for each key the blob, None where it is nowhere, or its error.

        Raises what the last tier's backend raises. Each key missing here is fetched from the origin once,
        however many threads miss it, and kept here. ``refresh`` reads the last tier alone and renews the
        caches: their copies are replaced by what it has; where it has nothing they are deleted if the chain
        is one store (else they may be a cache's own, and stay). Of a pool without origin it changes nothing.
        ``later`` and ``views`` are as for :meth:`load_here`, and for a pool without origin alone: a chain has
        to know, and keeps what it read.
        """
        origin = self._origin
        if origin is None:
            found = self.load_here(keys, later=later, views=views)
            absent = found.count(None)
            self._counter.count(len(found) - absent, absent)
            return found
        if refresh:
            return self._refresh(keys)
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
        own. A cache that can neither hold what replaces its copy nor delete that is an error when the other
        tiers are done.
        """
        if self._origin is None or not self._write_through:
            return self.store_here(blobs, replace=replace)
        *caches, last = self.chain()
        outcomes = last.store_here(blobs, replace=replace)
        kept = (StoreOutcome.CREATED, StoreOutcome.SAME)
        stored = [blob for blob, outcome in zip(blobs, outcomes, strict=True) if outcome in kept]
        self._renew_all(caches, stored, replaced=replace)
        return outcomes

    def store_together(self, blobs: Sequence[Blob]) -> bool:
        """File plain blobs as :meth:`store` does, in one commit; False, with nothing done, where that is not.

        It is not where one of them is there already, is too large, or comes twice, and where the pool that
        decides has no such commits. Who sees one of them sees those before it. The error of a cache is that
        of :meth:`store`: all are in the last tier then.
        """
        *caches, last = self.store_tiers()
        if not last.store_together_here(blobs):
            return False
        self._renew_all(caches, blobs, replaced=False)
        return True

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

    def newest(self, stems: Sequence[str], *, refresh: bool = False) -> list[str | None]:
        """Return for each of ``stems`` the key of its newest evolution, or None; see :meth:`history`.

        ``refresh`` asks the last tier alone.
        """
        if refresh:
            return self.chain()[-1].newest_here(stems)
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
        answers = [tier.histories_here(stems) for tier in self.store_tiers()]
        return [sorted(set().union(*some)) for some in zip(*answers, strict=True)]

    # -- one tier --------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[Pool], T], otherwise: T) -> list[T]:
        *caches, last = self.chain()
        answers = [ask(last)]
        if not self._write_through:
            answers += [cache._guarded("list", 1, lambda c=cache: ask(c), otherwise) for cache in caches]  # type: ignore[misc]
        return answers

    def _overtake(self, keys: Sequence[str]) -> None:
        """Wait for a fill that is being written; let none come later of what is fetched of ``keys`` now."""
        with self._fill_lock:
            self._flights.overtake(keys)

    def _delete_tier(self, keys: Sequence[str]) -> list[bool]:
        self._overtake(keys)
        return self.delete_here(keys)

    def _fetch(self, keys: Sequence[str], origin: Pool, damaged: AbstractSet[str]) -> dict[str, Found]:
        """Fetch ``keys`` from the origin, sharing the fetches that other threads have under way."""
        mine: dict[str, Flight] = {}
        try:
            theirs = self._flights.join(keys, mine)
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
            self._flights.finish(mine)
        alone = [key for key, flight in theirs.items() if not flight.wait()]
        found = {key: flight.found for key, flight in (mine | theirs).items()}
        if alone:
            found |= zip(alone, origin.load(alone), strict=True)
        # A thread that was interrupted (Ctrl-C) fetched nothing for us: its interruption is not our outcome.
        again = [
            k for k, one in found.items() if isinstance(one, BaseException) and not isinstance(one, Exception)
        ]
        return found | self._fetch(again, origin, damaged) if again else found

    def _fill(self, flights: dict[str, Flight], damaged: AbstractSet[str]) -> None:
        """Keep copies of what was fetched; what fails is reported and costs only the copy."""

        def write() -> None:
            with self._fill_lock:
                blobs = [f.found for f in flights.values() if f.fill and _is_blob(f.found)]
                fresh = [blob for blob in blobs if blob.key not in damaged]
                # What another writer filed here meanwhile stays; only a damaged copy is replaced.
                if fresh:
                    self._count_fills(self.store_here(fresh))
                if len(fresh) < len(blobs):
                    broken = [blob for blob in blobs if blob.key in damaged]
                    self._count_fills(self.store_here(broken, replace=True))

        self._guarded("fill", len(flights), write, None)

    def _count_fills(self, outcomes: Sequence[object]) -> None:
        self._counter.count_fills(outcomes.count(StoreOutcome.CREATED))

    def _refresh(self, keys: Sequence[str]) -> list[Found]:
        """Read the last tier alone, and renew the caches with what it gives."""
        *caches, last = self.chain()
        every = list(dict.fromkeys(keys))
        renewals: list[tuple[Pool, Renewal]] = []
        try:
            renewals += ((cache, cache._flights.begin(every)) for cache in caches)
            found = dict(zip(every, last.load(every), strict=True))
            for cache, renewal in reversed(renewals):
                take = partial(cache._take, found, renewal, drop=self._write_through)
                cache._guarded("renew", len(every), take, None)
        finally:
            for cache, renewal in renewals:
                cache._flights.end(renewal)
        return [found[key] for key in keys]

    def _take(self, found: Mapping[str, Found], renewal: Renewal, *, drop: bool) -> None:
        """Hold what a refresh has ``found`` in the last tier; ``drop`` what is not there."""
        with self._fill_lock:
            may_keep = self._flights.end(renewal)
            there = [blob for blob in found.values() if _is_blob(blob)]
            kept = [blob for blob in there if blob.key in may_keep]
            # Whatever happens now, what this tier had is not what it goes on giving.
            stale = {blob.key for blob in there}
            if drop:
                stale.update(key for key, one in found.items() if one is None)
            try:
                if kept:
                    outcomes = self.store_here(kept, replace=True)
                    self._count_fills(outcomes)
                    stale.difference_update(
                        blob.key
                        for blob, outcome in zip(kept, outcomes, strict=True)
                        if outcome is StoreOutcome.CREATED
                    )
            finally:
                if stale:
                    self.delete_here(list(stale))

    @staticmethod
    def _renew_all(caches: Sequence[Pool], blobs: Sequence[Blob], *, replaced: bool) -> None:
        """Renew every cache, the one before the last tier first, and then raise the first error."""
        failure: Exception | None = None
        for cache in reversed(caches):
            try:
                cache._renew(blobs, replaced=replaced)
            except Exception as error:  # noqa: BLE001 - the other tiers are renewed first; raised below
                failure = failure or error
        if failure is not None:
            raise failure

    def _renew(self, blobs: Sequence[Blob], *, replaced: bool) -> None:
        """Hold ``blobs``, which the last tier has just stored, in this cache tier.

        What this tier is too small for it does not hold, nor what it held in its place. Where they replace
        others there and this tier can neither hold nor delete them, it would go on giving the old ones: that
        is raised.
        """
        keys = [blob.key for blob in blobs]
        try:
            self._overtake(keys)
            outcomes = self.store_here(blobs, replace=True) if blobs else []
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does
            self._report("fill", error, len(blobs))
            if replaced:
                self.delete_here(keys)
            return
        refused = [key for key, one in zip(keys, outcomes, strict=True) if isinstance(one, LailaError)]
        if refused:
            self.delete_here(refused)

    def _guarded(self, verb: str, count: int, call: Callable[[], T], otherwise: T) -> T:
        """Call a cache tier; where it fails, report it and answer ``otherwise``."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does; the chain goes on
            self._report(verb, error, count)
            return otherwise

    def _report(self, verb: str, error: Exception, count: int = 1) -> None:
        # A cache that is down fails at every call: once a minute says as much as a thousand times.
        self._counter.count_failures(count)
        count = self._failures.due(count)
        if count:
            from laila.showing import logger

            logger("laila.pool").warning(
                "cache tier %s could not %s %d item(s) and was skipped: %s",
                self._me.label,
                verb,
                count,
                error,
            )


if TYPE_CHECKING:
    from typing import TypeGuard


def _is_blob(found: Found) -> TypeGuard[Blob]:
    return found is not None and not isinstance(found, BaseException)
