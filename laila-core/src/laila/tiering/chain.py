"""Chains of pools: ``cache << origin``, and how blobs are found, stored and deleted along them.

A pool may have an origin. A key missing in a pool is looked for in its origin, and so on; on the way back
every tier keeps a copy. A failing or damaged cache tier is skipped and reported, never the cause of a failed
read. When ``write="through"`` stands at the head, the chain is one store: the last tier is written first and
decides, the caches are filled after it.

Threads wait for each other down the chain only. A thread that fetches for a tier may wait for a fetch of the
next tier, never the other way round. It finishes its own fetches before it waits for fetches of others in the
same tier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from functools import partial

from laila.errors import LailaError
from laila.forks import Renewed
from laila.keys import number_of
from laila.locks import long_lock
from laila.tiering.counters import Throttle, TierCounter
from laila.tiering.links import LinkMixin
from laila.tiering.single_flight import Flight, Flights
from laila.trying import do_all

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
    """The outcome of storing one blob."""

    CREATED = "created"
    """The blob was new and is stored now, or it replaced another as requested."""
    SAME = "same"
    """The pool had the same content already; nothing was written."""
    CONFLICT = "conflict"
    """Another content is there; nothing was written."""


_tiers: Renewed[TierMixin] = Renewed(lambda tier: tier._init_locks())


class TierMixin(LinkMixin, ABC):
    """The part of a pool that knows the next tier.

    The verbs call ``load``, ``store``, ``delete``, ``newest`` and ``history``. They act on the whole chain if
    the chain is one store, otherwise on this pool alone.
    """

    _counter: TierCounter

    @abstractmethod
    def load_here(self, keys: Sequence[str], *, deferred: bool = False, views: bool = False) -> list[Found]:
        """Read plain blobs from this pool alone.

        Args:
            keys: The keys.
            deferred: Let the decoder check large buffers.
            views: Allow views of the stored bytes.

        Returns:
            A blob, None or an error for each key.
        """

    @abstractmethod
    def store_here(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """Store plain blobs in this pool alone.

        Args:
            blobs: Plain blobs.
            replace: Replace other contents.

        Returns:
            An outcome for each blob.
        """

    @abstractmethod
    def store_together_here(self, blobs: Sequence[Blob]) -> bool:
        """Store plain blobs in this pool alone, all in one commit or none of them.

        Args:
            blobs: Plain blobs.

        Returns:
            True if all were stored.
        """

    @abstractmethod
    def delete_here(self, keys: Sequence[str]) -> list[bool]:
        """Delete in this pool alone.

        Args:
            keys: The keys.

        Returns:
            Whether each key was there.
        """

    def _init_tiers(self, *, write_through: bool) -> None:
        self._origin = None
        self._write_through = write_through
        self._counter = TierCounter()
        self._failures = Throttle()
        self._init_locks()
        _tiers.add(self)

    def _init_locks(self) -> None:
        """Make the locks. A forked child calls this again, because no thread of the parent is left there."""
        self._create_lock = long_lock()
        self._flights = Flights()
        self._fill_lock = long_lock()

    # -- what it counts -------------------------------------------------------------------------------------

    @property
    def hits(self) -> int:
        """The number of keys that this tier had."""
        return self._counter.hits

    @property
    def misses(self) -> int:
        """The number of keys that this tier lacked."""
        return self._counter.misses

    @property
    def fills(self) -> int:
        """The number of copies from later tiers that this tier has kept."""
        return self._counter.fills

    @property
    def failures(self) -> int:
        """How often this tier was skipped, because it failed or its copy was damaged; counted by items."""
        return self._counter.failures

    # -- what the verbs call ---------------------------------------------------------------------------------

    def load(
        self, keys: Sequence[str], *, refresh: bool = False, deferred: bool = False, views: bool = False
    ) -> list[Found]:
        """Read plain blobs along the chain: for each key the blob, None where it is nowhere, or its error.

        Raises what the last tier's backend raises. Each key missing here is fetched from the origin once,
        however many threads miss it, and kept here. ``refresh`` reads the last tier alone and renews the
        caches: their copies are replaced by its blobs. Copies that it lacks are deleted if the chain is one
        store; otherwise they may be a cache's own, and stay. It changes nothing in a pool without origin.
        ``deferred`` and ``views`` have the meaning that they have in :meth:`load_here`, but only for a pool
        without origin: a chain must verify what it read, and keeps it.

        Args:
            keys: The keys.
            refresh: Read the last tier alone, and renew the caches.
            deferred: Let the decoder check large buffers.
            views: Allow views of the stored bytes.

        Returns:
            A blob, None or an error for each key.
        """
        origin = self._origin
        if origin is None:
            blobs = self.load_here(keys, deferred=deferred, views=views)
            absent = blobs.count(None)
            self._counter.count(len(blobs) - absent, absent)
            return blobs
        if refresh:
            return self._refresh(keys)
        nothing: list[Found] = [None] * len(keys)
        blobs = self._guarded("read", len(keys), lambda: self.load_here(keys), nothing)
        # If this copy is damaged, the origin still has the blob: damage is a miss, and the fill repairs it.
        damaged: set[str] = set()
        for i, blob in enumerate(blobs):
            if isinstance(blob, Exception):
                self._report("read", blob)
                damaged.add(keys[i])
                blobs[i] = None
        missing = [key for key, blob in zip(keys, blobs, strict=True) if blob is None]
        self._counter.count(len(keys) - len(missing), len(missing))
        if not missing:
            return blobs
        fetched = self._fetch(list(dict.fromkeys(missing)), origin, damaged)
        return [fetched[key] if blob is None else blob for key, blob in zip(keys, blobs, strict=True)]

    def store(self, blobs: Sequence[Blob], *, replace: bool = False) -> list[StoreOutcome | LailaError]:
        """File plain blobs: in the last tier and then in the caches when the chain is one store, else here.

        Says of each what became of it; the error of one that cannot be compared with what is there is its
        own. A cache that can neither hold what replaces its copy nor delete that is an error when the other
        tiers are done.

        Args:
            blobs: Plain blobs.
            replace: Replace other contents.

        Returns:
            An outcome for each blob.
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
        """Store plain blobs like :meth:`store`, in one commit. Return False if that is impossible.

        It is impossible if a blob is there already, is too large or comes twice, or if the deciding pool has
        no such commits. A reader that sees one of the blobs sees those before it. The error of a cache is the
        same as in :meth:`store`: all blobs are in the last tier then.

        Args:
            blobs: Plain blobs.

        Returns:
            True if all were stored.
        """
        *caches, last = self.store_tiers()
        if not last.store_together_here(blobs):
            return False
        self._renew_all(caches, blobs, replaced=False)
        return True

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete ``keys``: in every tier, the last first, if the chain is one store; otherwise here alone.

        If the last tier fails, nothing was deleted. A cache that fails is an error too, since it may still
        have the entries; the other caches still delete theirs.

        Args:
            keys: The keys.

        Returns:
            Whether each key was there.
        """
        if self._origin is None or not self._write_through:
            return self._delete_tier(keys)
        *caches, last = self.chain()
        answers = [last._delete_tier(keys)]
        do_all(lambda cache=cache: answers.append(cache._delete_tier(keys)) for cache in reversed(caches))  # type: ignore[misc]
        return [any(deleted) for deleted in zip(*answers, strict=True)]

    def newest(self, stems: Sequence[str], *, refresh: bool = False) -> list[str | None]:
        """Return for each of ``stems`` the key of its newest evolution, or None.

        ``refresh`` asks the last tier alone.

        Args:
            stems: Ids of variables without evolutions.
            refresh: Ask the last tier alone.

        Returns:
            A key or None for each stem.
        """
        if refresh:
            return self.chain()[-1].newest_here(stems)
        nothing: list[str | None] = [None for _ in stems]
        answers = self._asked(lambda tier: tier.newest_here(stems), nothing)
        return [
            max(
                (key for key in keys_of_stem if key is not None),
                key=number_of,
                default=None,
            )
            for keys_of_stem in zip(*answers, strict=True)
        ]

    def history(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` its stored evolutions, ascending.

        The last tier is asked; its failure is raised. If the chain is not one store, caches may have
        evolutions of their own, and are asked too.

        Args:
            stems: Ids of variables without evolutions.

        Returns:
            Numbers for each stem.
        """
        nothing: list[list[int]] = [[] for _ in stems]
        answers = self._asked(lambda tier: tier.histories_here(stems), nothing)
        return [sorted(set().union(*numbers)) for numbers in zip(*answers, strict=True)]

    def deletable(self, stems: Sequence[str]) -> list[list[int]]:
        """Return for each of ``stems`` the evolutions that :meth:`delete` reaches, ascending.

        Args:
            stems: Ids of variables without evolutions.

        Returns:
            Numbers for each stem.
        """
        answers = [tier.histories_here(stems) for tier in self.store_tiers()]
        return [sorted(set().union(*numbers)) for numbers in zip(*answers, strict=True)]

    # -- one tier --------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[Pool], T], otherwise: T) -> list[T]:
        *caches, last = self.chain()
        answers = [ask(last)]
        if not self._write_through:
            answers += [cache._guarded("list", 1, lambda c=cache: ask(c), otherwise) for cache in caches]  # type: ignore[misc]
        return answers

    def _overtake(self, keys: Sequence[str]) -> None:
        """Wait for a fill that is being written, and forbid later fills with present fetches of ``keys``."""
        with self._fill_lock:
            self._flights.overtake(keys)

    def _delete_tier(self, keys: Sequence[str]) -> list[bool]:
        self._overtake(keys)
        return self.delete_here(keys)

    def _fetch(self, keys: Sequence[str], origin: Pool, damaged: AbstractSet[str]) -> dict[str, Found]:
        """Fetch ``keys`` from the origin; share the fetches that other threads have begun."""
        mine: dict[str, Flight] = {}
        try:
            theirs = self._flights.join(keys, mine)
            if mine:
                for flight, outcome in zip(mine.values(), origin.load(list(mine)), strict=True):
                    flight.found = outcome
                self._fill(mine, damaged)
        except BaseException as error:
            for flight in mine.values():
                flight.found = error
            raise
        finally:
            # Finish our own fetches before waiting for others': two threads never wait for each other.
            self._flights.finish(mine)
        alone = [key for key, flight in theirs.items() if not flight.wait()]
        fetched = {key: flight.found for key, flight in (mine | theirs).items()}
        if alone:
            fetched |= zip(alone, origin.load(alone), strict=True)
        # A thread that was interrupted (Ctrl-C) fetched nothing for us: its interruption is not our outcome.
        again = [
            k
            for k, outcome in fetched.items()
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception)
        ]
        return fetched | self._fetch(again, origin, damaged) if again else fetched

    def _fill(self, flights: dict[str, Flight], damaged: AbstractSet[str]) -> None:
        """Keep copies of fetched blobs. A failure is reported and costs only the copy."""

        def write() -> None:
            with self._fill_lock:
                blobs = [f.found for f in flights.values() if f.fill and _is_blob(f.found)]
                fresh = [blob for blob in blobs if blob.key not in damaged]
                # A blob that another writer stored here meanwhile stays; only a damaged copy is replaced.
                if fresh:
                    self._count_fills(self.store_here(fresh))
                if len(fresh) < len(blobs):
                    broken = [blob for blob in blobs if blob.key in damaged]
                    self._count_fills(self.store_here(broken, replace=True))

        self._guarded("fill", len(flights), write, None)

    def _count_fills(self, outcomes: Sequence[object]) -> None:
        self._counter.count_fills(outcomes.count(StoreOutcome.CREATED))

    def _refresh(self, keys: Sequence[str]) -> list[Found]:
        """Read the last tier alone, and renew the caches with its blobs."""
        *caches, last = self.chain()
        every = list(dict.fromkeys(keys))
        renewals: list[tuple[Pool, Renewal]] = []
        try:
            renewals += ((cache, cache._flights.begin(every)) for cache in caches)
            stored = dict(zip(every, last.load(every), strict=True))
            for cache, renewal in reversed(renewals):
                take = partial(cache._take, stored, renewal, drop=self._write_through)
                cache._guarded("renew", len(every), take, None)
        finally:
            for cache, renewal in renewals:
                cache._flights.end(renewal)
        return [stored[key] for key in keys]

    def _take(self, stored: Mapping[str, Found], renewal: Renewal, *, drop: bool) -> None:
        """Keep the blobs that a refresh has ``stored`` in the last tier; ``drop`` the missing ones."""
        with self._fill_lock:
            may_keep = self._flights.end(renewal)
            blobs = [blob for blob in stored.values() if _is_blob(blob)]
            kept = [blob for blob in blobs if blob.key in may_keep]
            # From here on, this tier must not go on giving its old copies, whatever happens.
            stale = {blob.key for blob in blobs}
            if drop:
                stale.update(key for key, blob_or_none in stored.items() if blob_or_none is None)
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
        do_all(partial(cache._renew, blobs, replaced=replaced) for cache in reversed(caches))

    def _renew(self, blobs: Sequence[Blob], *, replaced: bool) -> None:
        """Keep ``blobs``, which the last tier has just stored, in this cache tier.

        A blob that is too large for this tier is not kept, and its older copy is deleted. If blobs replace
        others, and this tier can neither keep the new ones nor delete the old ones, it raises: it would go on
        giving the old ones.
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
        refused = [
            key for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, LailaError)
        ]
        if refused:
            self.delete_here(refused)

    def _guarded(self, verb: str, count: int, call: Callable[[], T], otherwise: T) -> T:
        """Call a cache tier; if it fails, report that and answer ``otherwise``."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way its backend does; the chain goes on
            self._report(verb, error, count)
            return otherwise

    def skipped(self, verb: str, error: Exception) -> None:
        """Report that this tier failed, and that another one was asked in its place.

        Args:
            verb: What it could not do.
            error: How it failed.
        """
        self._report(verb, error)

    def _report(self, verb: str, error: Exception, count: int = 1) -> None:
        # A cache that is down fails at every call; one line a minute is enough.
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


def _is_blob(outcome: Found) -> TypeGuard[Blob]:
    return outcome is not None and not isinstance(outcome, BaseException)
