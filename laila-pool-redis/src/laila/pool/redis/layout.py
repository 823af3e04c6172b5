"""What is in the server: the names of the keys, and what a blob in pieces looks like.

All names begin with the pool's prefix and a slash, which no prefix has in it, so that two pools of different
prefixes never meet. ``docs/reference/pool-redis.md`` says the same for readers in other languages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from laila.contract import MAX_KEY_BYTES, counts_evolution
from laila.errors import CorruptEntryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Buffer = bytes | memoryview

__all__ = ["LINE_BYTES", "MARK", "MARK_BYTES", "Names", "Record", "cut", "evolution", "number_of"]

MARK = b"\x93LAILA/"
"""What a record begins with. A blob begins with 93 4C 41 49 4C 41 0D 0A: the seventh byte differs."""
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
        # Nothing that a prefix may contain means anything in a pattern.
        self.every_entry = self._entry + b"*"

    def entry(self, key: str) -> bytes:
        """Where the blob of ``key`` is, or the record of its pieces."""
        return self._entry + key.encode()

    def entries(self, keys: Iterable[str]) -> list[bytes]:
        """The same of many keys."""
        base = self._entry
        return [base + key.encode() for key in keys]

    def key(self, entry: bytes) -> str:
        """The key whose entry has this name."""
        return entry[len(self._entry) :].decode()

    def index(self, stem: str) -> bytes:
        """The sorted set of the evolutions of ``stem``."""
        return self._index + stem.encode()

    def piece(self, record: Record, number: int) -> bytes:
        """One of the pieces that a record refers to, counted from 0."""
        return b"%b%b/%d" % (self._piece, record.id.encode(), number)


class Record(NamedTuple):
    """What stands in the place of a blob that is kept in pieces: one line, then the blob's head.

    ``id`` is of one write alone; ``nbytes`` is the size of the ``pieces`` together; ``head`` is the blob's
    head, which is then not in the pieces, or empty: then it is.
    """

    id: str
    pieces: int
    nbytes: int
    head: bytes

    def __bytes__(self) -> bytes:
        return b"\x93LAILA/pieces %b %d %d\n%b" % (self.id.encode(), self.pieces, self.nbytes, self.head)

    @classmethod
    def parse(cls, key: str, value: bytes) -> Record | None:
        """Read a record; None where ``value`` is something else: a blob. Raises CorruptEntryError."""
        if value[:MARK_BYTES] != MARK:
            return None
        found = _LINE.match(value)
        if found is None:
            raise CorruptEntryError(
                f"what is filed under {key} is no blob, and no list of a blob's pieces; restore it from "
                "another tier or a backup, or forget it",
                key=key,
            )
        return cls(found[1].decode(), int(found[2]), int(found[3]), value[found.end() :])


def evolution(key: str) -> tuple[str, bytes] | None:
    """The stem of a key ``<stem>-<n>`` and what stands for ``n`` in the stem's sorted set, else None.

    Members of one score are ordered by their bytes: the length of the number, in three digits, and then the
    number are in the order of the numbers, however large. (A score is a double, exact to 2**53 only.)
    """
    stem, _, number = key.rpartition("-")
    if not counts_evolution(number) or len(stem) + len(number) + 1 != len(key):
        return None
    return stem, b"%03d%b" % (len(number), number.encode())


def number_of(member: bytes) -> int:
    """The number that a member of an index stands for. Raises CorruptEntryError for what is no member."""
    digits = bytes(member[3:])
    # The end of a key, so that it is no longer than one.
    if len(digits) <= MAX_KEY_BYTES and digits.isdigit() and member == b"%03d%b" % (len(digits), digits):
        number = digits.decode()
        if counts_evolution(number):
            return int(number)
    raise CorruptEntryError(
        "a line in the index of evolutions is not one that a pool wrote; did another program write under the "
        "same prefix?",
        key=None,
    )


def cut(parts: Iterable[Buffer], size: int) -> Iterator[list[memoryview]]:
    """Cut what ``parts`` are together into pieces of ``size`` bytes, the last one shorter; copy nothing."""
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
