"""The verb borrow: entries that one borrower has for itself, and what becomes of them at the end.

A variable is lent with all its evolutions, so a lease is of the id without evolution. At a clean end the
variables that evolved are stored in one step, if the lease is this borrower's still.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from laila.central.ids import as_key, candidates
from laila.entry import Entry, EntryState, to_blob
from laila.entry.states import mark, note_stored, unmark
from laila.errors import EvolutionConflictError, IdentityError, InvalidArgumentError
from laila.keys import stem_of
from laila.leasing import renewing
from laila.leasing.lease import Lease
from laila.leasing.records import LONGEST_TTL, boot_time, check_seconds
from laila.showing import logger, said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, overload

    from laila.blob.blob import Blob
    from laila.contract.pool import Pool
    from laila.leasing.tables import LeaseTable

__all__ = ["TIMEOUT", "TTL", "Borrow", "Borrowed", "Lender"]

TTL = 30.0
"""How many seconds a lease lasts unless it is renewed."""
TIMEOUT = 60.0
"""How many seconds a borrower waits for others."""
_LONGEST_WAIT = 1e9


class Lender(ABC):
    """Where entries are borrowed from: a pool of this process, or one of a peer."""

    where: str
    """The place, for messages."""
    fences: bool
    """Whether ``store`` looks at the leases and stores in one step."""
    pool: Pool | None
    """The pool, if it is one of this process."""

    @abstractmethod
    def table(self) -> LeaseTable:
        """Return the table of leases. Raises :class:`NotSupportedError` where there is none."""

    @abstractmethod
    def present(self, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether an entry, or an evolution of it, is there."""

    @abstractmethod
    def read(self, keys: Sequence[str], missing_ok: bool) -> list[Entry | BaseException | None]:
        """Return the newest evolution of each key, or its error."""

    @abstractmethod
    def store(self, blobs: Sequence[Blob], tokens: Mapping[str, bytes]) -> bool:
        """Store new evolutions for the holder of leases, all or none where the pool can.

        Returns False if one of them is there.
        """


class Borrowed(Sequence["Any"]):
    """The entries that are lent, in the order in which they were named; also by the name that was given.

    Missing entries are None, with ``missing_ok``. For one thread at a time.
    """

    def __init__(
        self, entries: Sequence[Entry | None], names: Sequence[str], leases: Sequence[Lease]
    ) -> None:
        self._entries = list(entries)
        self._places = {name: place for place, name in enumerate(names)}
        self._leases = leases

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, place: int | str) -> Any: ...
        @overload
        def __getitem__(self, place: slice) -> Sequence[Any]: ...

    def __getitem__(self, place: int | str | slice) -> Any:
        """Return an entry by its place, or by the id or nickname that was given."""
        return self._entries[self._places[place] if isinstance(place, str) else place]

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        state = "lost" if self.lost else f"{self.seconds_left:.3g} s left"
        return f"<Borrowed {len(self)} entries, {state}>"

    @property
    def lost(self) -> bool:
        """Whether the lease is over: nothing will be stored any more."""
        return any(lease.lost is not None for lease in self._leases)

    @property
    def seconds_left(self) -> float:
        """For how many seconds the lease lasts if it is not renewed."""
        return min((lease.seconds_left for lease in self._leases), default=0.0)

    @property
    def fences(self) -> dict[str, int]:
        """The number of the lease of each id. A later lease of an id has a greater number.

        Give it to other systems that you write to, so that they refuse a borrower who comes late.
        """
        return {key: number for lease in reversed(self._leases) for key, number in lease.fences.items()}

    def check(self) -> None:
        """Raise :class:`~laila.errors.LeaseLostError` if the lease is over."""
        for lease in self._leases:
            lease.check()


class Borrow:
    """One borrowing, as a context: see :meth:`laila.central.memory_verbs.MemoryVerbs.borrow`. Used once."""

    def __init__(
        self,
        lender: Lender,
        named: Sequence[tuple[str, list[str]]],
        *,
        timeout: float | None,
        ttl: float,
        missing_ok: bool,
        pickle: bool,
        grantor: Callable[[], tuple[LeaseTable, str]] | None = None,
    ) -> None:
        self._lender = lender
        self._named = named
        self._timeout = None if timeout is None else check_seconds(timeout, "timeout", _LONGEST_WAIT)
        self._ttl = check_seconds(ttl, "ttl", LONGEST_TTL)
        self._missing_ok = missing_ok
        self._pickle = pickle
        self._grantor = grantor
        self._leases: list[Lease] = []
        self._lent: dict[int, tuple[Entry, int | None]] = {}
        self._entered = False

    def __enter__(self) -> Borrowed:
        """Borrow. Blocks until all entries are lent to this borrower, and read."""
        if self._entered:
            raise InvalidArgumentError("borrow() is for one `with`: call it again")
        self._entered = True
        keys = self._keys()
        stems = list(dict.fromkeys(stem_of(key) for key in keys))
        places: list[tuple[LeaseTable, str]] = [] if self._grantor is None else [self._grantor()]
        places.append((self._lender.table(), self._lender.where))
        began = boot_time()
        try:
            for table, where in places if stems else ():
                lease = Lease(table, stems, self._ttl, where)
                self._leases.append(lease)
                left = None if self._timeout is None else max(began + self._timeout - boot_time(), 0.0)
                lease.acquire(left, renewing.keep)
            entries = self._read(stems)
        except BaseException:
            self._give_back()
            raise
        given = [entries[stem_of(key)] for key in keys]
        return Borrowed(given, [name for name, _ in self._named], self._leases)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Store the variables that evolved, unless the body raised, and give everything back."""
        try:
            if error is None:
                self._store()
        finally:
            self._give_back()

    def _keys(self) -> list[str]:
        """Return the one key that each name means."""
        flat = [key for _, keys in self._named if len(keys) > 1 for key in keys]
        there = dict(zip(flat, self._lender.present(flat), strict=True)) if flat else {}
        chosen: list[str] = []
        for name, keys in self._named:
            found = keys if len(keys) == 1 else [key for key in keys if there[key]]
            if len(found) > 1:
                raise IdentityError(
                    f"the nickname {shown(name)} names an entry and a manifest: give the id of one",
                    value=name,
                )
            chosen.append(found[0] if found else keys[0])
        return chosen

    def _read(self, stems: list[str]) -> dict[str, Entry | None]:
        entries: dict[str, Entry | None] = {}
        for stem, found in zip(
            stems, self._lender.read(stems, self._missing_ok) if stems else (), strict=True
        ):
            if isinstance(found, BaseException):
                raise found
            entries[stem] = found
            if found is not None:
                self._lent[id(found)] = found, found.evolution
        return entries

    def _store(self) -> None:
        changed = [
            (entry, number)
            for entry, number in self._lent.values()
            if number is not None and entry.evolution != number and entry.state is not EntryState.POOLED
        ]
        for lease in self._leases:
            lease.check()
        if not changed:
            return
        entries = [entry for entry, _ in changed]
        self._number(changed)
        blobs = [to_blob(entry, pickle=self._pickle) for entry in entries]
        # The pool looks once more, in one step with the write, where it can.
        for lease in self._leases if not self._lender.fences else self._leases[:-1]:
            lease.renew()
        mark(entries)
        try:
            stored = self._lender.store(blobs, self._leases[-1].tokens)
            if not stored:
                raise self._conflict(blobs)
            keys = [blob.key for blob in blobs]
            note_stored(entries, keys, keys, self._lender.pool)
        finally:
            unmark(entries)

    def _number(self, changed: Sequence[tuple[Entry, int | None]]) -> None:
        """Give each variable the evolution after the one that was lent, however often it evolved.

        No number is left out, so that two borrowers never store evolutions beside each other.
        """
        after = [
            (entry, number + 1)
            for entry, number in changed
            if number is not None and entry.evolution is not None and entry.evolution > number + 1
        ]
        keys = [f"{stem_of(entry.global_id)}-{number}" for entry, number in after]
        for (entry, number), key, there in zip(
            after, keys, self._lender.present(keys) if keys else (), strict=True
        ):
            if not there:
                entry._evolution = number
            elif not self._lender.fences:
                raise EvolutionConflictError(
                    f"{key} was stored while the entry was lent, and {self._lender.where} cannot say by "
                    "whom: nothing was written. Let the end of `with` store what evolves",
                    key=key,
                    pool=self._lender.where,
                )

    def _conflict(self, blobs: Sequence[Blob]) -> EvolutionConflictError:
        some = ", ".join(blob.key for blob in blobs[:3])
        return EvolutionConflictError(
            f"an evolution that was to be stored is there already, among {some}: somebody who did not "
            f"borrow the entry wrote to {self._lender.where} meanwhile, and that was kept. Borrow again, and "
            "repeat the work",
            key=blobs[0].key,
            pool=self._lender.where,
        )

    def _give_back(self) -> None:
        for lease in reversed(self._leases):
            renewing.forget(lease)
            try:
                lease.release()
            except Exception as error:  # noqa: BLE001 - the lease ends by itself, and what was stored is stored
                logger("laila.leases").warning(
                    "a lease was not given back, and ends by itself after %g seconds: %s",
                    lease.ttl,
                    said(error),
                )


def named_keys(named: object) -> list[tuple[str, list[str]]]:
    """Return for each thing to borrow its name, and the keys that it may mean.

    Args:
        named: An Entry, a global id or a nickname; or an iterable of them.

    Returns:
        Pairs of the given name and its keys.

    Raises:
        InvalidArgumentError: it is something else.
        IdentityError: it is not a name, or the id of something that is not stored.
    """
    if isinstance(named, (Entry, str)):
        items: Iterable[object] = [named]
    elif isinstance(named, (bytes, bytearray, dict)) or not hasattr(named, "__iter__"):
        raise InvalidArgumentError(
            f"borrow() takes ids, Entries or nicknames, not a {type(named).__name__}: borrow([…])"
        )
    else:
        items = named
    pairs: list[tuple[str, list[str]]] = []
    for item in items:
        if isinstance(item, str) and not item.startswith("LAILA:"):
            (keys,) = candidates([item], None)
            pairs.append((item, keys))
        else:
            key = as_key(item)
            pairs.append((key, [key]))
    return pairs
