"""Which leaves of a manifest are packed: stored together in one entry, a pack, each found by its range.

The places are stored in the payload of the manifest, in columns, so that a leaf is read without asking for
an index. A leaf that is not packed has a zero in the column ``pack``.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from laila.entry.columns import column_of, numbers_of, wrong_table
from laila.errors import IdentityError
from laila.identity import last_scope, parse_global_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["ALIGNMENT", "LONGEST_PACKED", "PACK_SCOPE", "Packs", "Place", "Wanted"]

PACK_SCOPE = "PACK"
ALIGNMENT = 64
"""Each packed blob begins at a multiple of so many bytes of the payload."""
LONGEST_PACKED = (64 << 10) - 1
"""The most bytes of a packed blob."""
_SHORTEST_PACKED = 40
_LARGEST_PACK = 1 << 40
_LARGEST_HEAD = 1 << 20
_FIELDS = frozenset({"packs", "pack", "offset", "length"})


class Place(NamedTuple):
    """Where a packed leaf is."""

    pack: str
    """The id of the pack."""
    start: int
    """Where the payload of the pack begins in its blob, before transformations."""
    offset: int
    """Where the blob of the leaf begins in that payload."""
    length: int
    """The bytes of the blob of the leaf."""
    owner: str | None
    """The manifest that the pack was made with; None for the manifest that has this place."""


class Wanted(NamedTuple):
    """A packed leaf that is to be read."""

    leaf: str
    """Its global id."""
    place: Place
    """Where it is."""
    digest: bytes | None
    """The content digest that the manifest has of it, if any."""

    def to_send(self) -> list[object]:
        """Return it as JSON has it, without the digest."""
        return [self.leaf, self.place.pack, self.place.start, self.place.offset, self.place.length]

    @classmethod
    def sent(cls, row: object) -> Wanted | None:
        """Return what :meth:`to_send` gave; None where ``row`` is anything else."""
        if type(row) is not list or tuple(map(type, row)) != (str, str, int, int, int):
            return None
        leaf, pack, start, offset, length = row
        if not (_SHORTEST_PACKED <= length <= LONGEST_PACKED and 0 <= offset < _LARGEST_PACK):
            return None
        try:
            checked, _, _ = _pack([pack, None, start])
            last_scope(leaf)
        except ValueError:
            return None
        return cls(leaf, Place(checked, start, offset, length, None), None)


class Packs:
    """The places of the packed leaves of one manifest, by global id. Reading is safe between threads."""

    __slots__ = ("_added", "_table")

    def __init__(self) -> None:
        self._added: dict[str, Place] = {}
        self._table = _Table({}, [], {}, None)

    def __bool__(self) -> bool:
        return bool(self._added or self._table.packs)

    def copy(self) -> Packs:
        """Return a table of its own with the same places."""
        again = Packs()
        again._added, again._table = self._added, self._table
        return again

    def get(self, leaf: str) -> Place | None:
        """Return the place of a leaf; None if it is not packed."""
        return self._added.get(leaf) or self._table.get(leaf)

    def add(self, places: Mapping[str, Place]) -> None:
        """Note the places of more leaves."""
        if places:
            self._added = {**self._added, **places}

    def drop(self, leaves: Iterable[str]) -> None:
        """Forget the places of some leaves."""
        gone = set(leaves)
        if gone:
            kept = {leaf: place for leaf, place in self._every() if leaf not in gone}
            self._added, self._table = kept, _Table({}, [], {}, None)

    def _every(self) -> Iterator[tuple[str, Place]]:
        for leaf in self._table.places:
            place = self._table.get(leaf)
            if place is not None:
                yield leaf, place
        yield from self._added.items()

    def lent(self, leaves: Iterable[str], owner: str) -> dict[str, Place]:
        """Return the places of those of ``leaves`` that are packed, for another manifest than ``owner``."""
        found = ((leaf, self.get(leaf)) for leaf in leaves)
        return {
            leaf: place._replace(owner=place.owner or owner) for leaf, place in found if place is not None
        }

    def stored(self, leaves: Iterable[str]) -> dict[str, object] | None:
        """Return the columns for these leaves, each once in their order; None where none is packed."""
        if not self:
            return None
        numbered = {leaf: number for number, leaf in enumerate(dict.fromkeys(leaves))}
        table = self._table
        if self._added or numbered.keys() != table.places.keys() or list(numbered) != list(table.places):
            places = [self.get(leaf) for leaf in numbered]
            packs: dict[tuple[str, str | None, int], int] = {}
            pack = [
                0 if p is None else packs.setdefault((p.pack, p.owner, p.start), len(packs) + 1)
                for p in places
            ]
            if not packs:
                return None
            stored: dict[str, object] = {
                "packs": [list(key) for key in packs],
                "pack": column_of(pack),
                "offset": column_of([0 if p is None else p.offset for p in places]),
                "length": column_of([0 if p is None else p.length for p in places]),
            }
            self._table = table = _read(stored, numbered)
            self._added = {}
        return table.stored

    @classmethod
    def read(cls, stored: object, leaves: Iterable[str]) -> Packs:
        """Read the columns of a stored manifest with these leaves.

        Raises:
            ManifestError: they are not what :meth:`stored` gives (a ``ValueError``).
        """
        self = cls()
        self._table = _read(stored, {leaf: number for number, leaf in enumerate(dict.fromkeys(leaves))})
        return self


class _Table:
    """Columns, and the number in them of each leaf."""

    __slots__ = ("columns", "packs", "places", "stored")

    def __init__(
        self,
        places: dict[str, int],
        packs: list[tuple[str, str | None, int]],
        columns: dict[str, Sequence[int]],
        stored: dict[str, object] | None,
    ) -> None:
        self.places = places
        self.packs = packs
        self.columns = columns
        self.stored = stored

    def get(self, leaf: str) -> Place | None:
        number = self.places.get(leaf)
        if number is None or not self.packs or not (which := self.columns["pack"][number]):
            return None
        pack, owner, start = self.packs[which - 1]
        return Place(pack, start, self.columns["offset"][number], self.columns["length"][number], owner)


def _read(stored: object, places: dict[str, int]) -> _Table:
    count = len(places)
    if type(stored) is not dict or stored.keys() != _FIELDS:
        raise wrong_table("its packs have other columns")
    rows = stored["packs"]
    if type(rows) is not list or not 0 < len(rows) <= count:
        raise wrong_table("its packs are not those of its leaves")
    packs = [_pack(row) for row in rows]
    if len({pack for pack, _, _ in packs}) < len(packs):
        raise wrong_table("a pack is there twice")
    columns = {name: numbers_of(name, stored[name], count) for name in ("pack", "offset", "length")}
    pack, offset, length = columns.values()
    if max(pack) > len(packs) or len(set(pack) - {0}) < len(packs):
        raise wrong_table("its packs are not those that its leaves lie in")
    if max(offset) >= _LARGEST_PACK or max(length) > LONGEST_PACKED:
        raise wrong_table("a leaf lies where no packed leaf does")
    lengths = [size for number, size in zip(pack, length, strict=True) if number]
    if min(lengths) < _SHORTEST_PACKED or sum(lengths) != sum(length):
        raise wrong_table("a leaf has a length that no packed leaf has")
    starts = [number * _LARGEST_PACK + at for number, at in zip(pack, offset, strict=True) if number]
    if any(at % ALIGNMENT for at in offset):
        raise wrong_table("a leaf lies where no packed leaf does")
    if _overlap(starts, lengths):
        # Tables are written in the order of the leaves. A later manifest may have them in another.
        order = sorted(range(len(starts)), key=starts.__getitem__)
        if _overlap([starts[i] for i in order], [lengths[i] for i in order]):
            raise wrong_table("two leaves lie in one place of a pack")
    return _Table(places, packs, columns, stored)


def _overlap(starts: Sequence[int], lengths: Sequence[int]) -> bool:
    """Whether a range ends after the beginning of the next one."""
    nexts = islice(starts, 1, None)
    return any(start + size > after for start, size, after in zip(starts, lengths, nexts, strict=False))


def _pack(row: object) -> tuple[str, str | None, int]:
    if type(row) is not list or len(row) != 3:
        raise wrong_table("a pack is not said by its id, its manifest and its beginning")
    pack, owner, start = row
    if type(pack) is not str or not (owner is None or type(owner) is str) or type(start) is not int:
        raise wrong_table("a pack is said by values of other types")
    try:
        scopes, _, evolution = parse_global_id(pack)
        owned = owner is None or last_scope(owner) == "MANIFEST"
    except IdentityError as error:
        raise wrong_table("a pack has an id that is none") from error
    if scopes != (PACK_SCOPE,) or evolution is not None or not owned:
        raise wrong_table("a pack has the id of something else")
    if not _SHORTEST_PACKED <= start <= _LARGEST_HEAD:
        raise wrong_table("a pack begins where none does")
    return pack, owner, start
