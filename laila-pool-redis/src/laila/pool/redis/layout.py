"""The contents of the server: the names of the keys, and the form of a blob in pieces.

All names begin with the pool's prefix and a slash. No prefix contains a slash, so two pools of different
prefixes never meet. ``docs/reference/pool-redis.md`` describes this for readers in other languages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from laila.contract import MAX_KEY_BYTES, counts_evolution, split_evolution
from laila.errors import CorruptEntryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Buffer = bytes | memoryview

__all__ = ["LINE_BYTES", "MARK", "MARK_BYTES", "Names", "Record", "cut", "evolution", "number_of"]

MARK = b"\x93LAILA/"
"""The first bytes of a record. A blob begins with 93 4C 41 49 4C 41 0D 0A: the seventh byte differs."""
MARK_BYTES = len(MARK)
_LINE = re.compile(rb"\x93LAILA/pieces ([0-9a-f]{32}) ([1-9]\d{0,8}) ([1-9]\d{0,17})\n")

LINE_BYTES = 128
"""The first line of a record is shorter."""


class Names:
    """The names of the keys of one pool."""

    def __init__(self, prefix: str) -> None:
        base = prefix.encode() + b"/"
        self._entry = base + b"e/"
        self._index = base + b"i/"
        self._piece = base + b"p/"
        self._lease = base + b"l/"
        # No character that a prefix may contain has a meaning in a pattern.
        self.every_entry = self._entry + b"*"
        self.every_lease = self._lease + b"*"

    def entry(self, key: str) -> bytes:
        """Return the name of the blob of ``key``, or of the record of its pieces."""
        return self._entry + key.encode()

    def entries(self, keys: Iterable[str]) -> list[bytes]:
        """Return the names of the blobs or records of many keys."""
        base = self._entry
        return [base + key.encode() for key in keys]

    def key(self, entry: bytes) -> str:
        """Return the key whose entry has this name."""
        return entry[len(self._entry) :].decode()

    def index(self, stem: str) -> bytes:
        """Return the name of the sorted set of the evolutions of ``stem``."""
        return self._index + stem.encode()

    def lease(self, key: str) -> bytes:
        """Return the name of the lease of ``key``."""
        return self._lease + key.encode()

    def leased(self, lease: bytes) -> str:
        """Return the key whose lease has this name."""
        return lease[len(self._lease) :].decode()

    def piece(self, record: Record, number: int) -> bytes:
        """Return the name of one piece of a record, counted from 0."""
        return b"%b%b/%d" % (self._piece, record.id.encode(), number)


class Record(NamedTuple):
    """Stands in the place of a blob that is kept in pieces: one line, then the blob's head.

    ``id`` belongs to one write alone; ``nbytes`` is the size of all ``pieces``. ``head`` is the blob's head.
    It is empty if the pieces contain the head.
    """

    id: str
    pieces: int
    nbytes: int
    head: bytes

    def __bytes__(self) -> bytes:
        return b"\x93LAILA/pieces %b %d %d\n%b" % (self.id.encode(), self.pieces, self.nbytes, self.head)

    @classmethod
    def parse(cls, key: str, value: bytes) -> Record | None:
        """Read a record; None if ``value`` is a blob. Raises CorruptEntryError."""
        if value[:MARK_BYTES] != MARK:
            return None
        match = _LINE.match(value)
        if match is None:
            raise CorruptEntryError(
                f"what is filed under {key} is no blob, and no list of a blob's pieces; restore it from "
                "another tier or a backup, or forget it",
                key=key,
            )
        return cls(match[1].decode(), int(match[2]), int(match[3]), value[match.end() :])


def evolution(key: str) -> tuple[str, bytes] | None:
    """Split a key ``<stem>-<n>`` into the stem and the member for ``n`` in its set; None for other keys.

    The server orders members of one score by their bytes. A member is the length of the number in three
    digits, and then the number. So members are in the order of the numbers, however large. (A score is a
    double, exact only to 2**53.)
    """
    split = split_evolution(key)
    if split is None:
        return None
    stem, number = split
    return stem, b"%03d%b" % (len(number), number.encode())


def number_of(member: bytes) -> int:
    """Return the number that a member of an index stands for. Raises CorruptEntryError for other bytes."""
    digits = bytes(member[3:])
    # The number is the end of a key, so it is not longer than a key.
    if len(digits) <= MAX_KEY_BYTES and digits.isdigit() and member == b"%03d%b" % (len(digits), digits):
        number = digits.decode()
        if counts_evolution(number):
            return int(number)
    raise CorruptEntryError(
        "no pool wrote this line in the index of evolutions; did another program write under the "
        "same prefix?",
        key=None,
    )


def cut(parts: Iterable[Buffer], size: int) -> Iterator[list[memoryview]]:
    """Cut the joined ``parts`` into pieces of ``size`` bytes, the last one shorter; copies nothing."""
    piece: list[memoryview] = []
    room = size
    for part in parts:
        view = memoryview(part)
        while view.nbytes > room:
            yield [*piece, view[:room]]
            view, piece, room = view[room:], [], size
        if view.nbytes:
            piece.append(view)
            room -= view.nbytes
        if not room:
            yield piece
            piece, room = [], size
    if piece:
        yield piece
