"""What a pool does on its server: blobs under keys, in as few round trips as their sizes allow.

Small blobs go through the scripts, many in one call. A larger one is cut into pieces under names of their
own, which nobody looks for; then one small step puts a record in the blob's place. Who has read the old
record when that is replaced finds its pieces gone, and reads again.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from laila.contract import Blob, check_key, head_nbytes
from laila.errors import CorruptEntryError, PoolError, PoolKeyError
from laila.pool.redis.layout import LINE_BYTES, MARK, MARK_BYTES, Names, Record, cut, evolution, number_of
from laila.pool.redis.scripts import CREATE, CREATE_AGAIN, DELETE, NEWEST, REPLACE, STORE
from laila.pool.redis.seen import Seen
from laila.pool.redis.wire import Command, call
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from laila.pool.redis.connections import Connections
    from laila.pool.redis.wire import Argument, Bytes

    Found = bytes | list[Bytes] | None

__all__ = ["INLINE_BYTES", "Store"]

INLINE_BYTES = 256 * 1024
"""A larger blob is kept in pieces, one at least: a script copies its arguments."""
# A head up to this size stands in the record, and is read with it.
_HEAD_BYTES = 64 * 1024
# What is read of an entry for its head: nearly always all of it.
_HEAD_RANGE = 4096
# Pieces that no record refers to go away after so long. While others are sent, they are told to stay.
_PIECE_SECONDS = 600
_REFRESH_SECONDS = 120
# How many keys to read at first, and at least, while nothing is known of their sizes.
_FIRST_KEYS, _LEAST_KEYS = 128, 16
_SCAN_COUNT = 2000
_TRIES = 100


class Store:
    """The blobs under one prefix of one server. Raises redis-py's errors; safe in any thread."""

    def __init__(
        self,
        connections: Connections,
        names: Names,
        *,
        ttl: float | None,
        chunk_bytes: int,
        chunk_count: int,
        piece_bytes: int,
    ) -> None:
        self._connections = connections
        self._names = names
        self._ttl = 0 if ttl is None else max(1, round(ttl * 1000))
        self._chunk_bytes = chunk_bytes
        self._chunk_count = chunk_count
        self._piece_bytes = piece_bytes

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, keys: Sequence[str]) -> list[Found]:
        """Return for each key its blob, whole or in parts, or None."""
        found: list[Found] = []
        for key, value in zip(keys, self._values(keys), strict=True):
            record = None if value is None or value[:MARK_BYTES] != MARK else Record.parse(key, value)
            found.append(value if record is None else self._read_large(key, record))
        return found

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return for each key at least the head of its blob, or None."""
        starts: list[bytes] = []
        for some in _slices(keys, self._chunk_count):
            starts += self._ask(
                [Command(b"GETRANGE", self._names.entry(key), 0, _HEAD_RANGE - 1) for key in some]
            )
        found: list[bytes | None] = []
        for key, start in zip(keys, map(_text, starts), strict=True):
            start = start or b""
            record = Record.parse(key, start)
            head = start if record is None else record.head
            if not start:
                found.append(None)
            elif head and (len(start) < _HEAD_RANGE or _holds_head(head)):
                found.append(head)
            else:
                found.append(self._whole_head(key))
        return found

    def _whole_head(self, key: str) -> bytes | None:
        """A longer head, with what follows it; that of a blob which is nearly all head is in its pieces."""
        (value,) = self._values([key])
        record = None if value is None else Record.parse(key, value)
        if record is None or record.head:
            return value if record is None else record.head
        found = self._read_large(key, record)
        return b"".join(found) if isinstance(found, list) else found

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """Return for each key how many bytes its blob has, or None."""
        found: list[int | None] = []
        for some in _slices(keys, self._chunk_count):
            names = [self._names.entry(key) for key in some]
            lengths = self._ask([Command(b"STRLEN", name) for name in names])
            starts = self._ask([Command(b"GETRANGE", name, 0, LINE_BYTES - 1) for name in names])
            for key, length, start in zip(some, lengths, starts, strict=True):
                record = Record.parse(key, start)
                line = 0 if record is None else len(start) - len(record.head)
                found.append((length - line + (0 if record is None else record.nbytes)) or None)
        return found

    def exist(self, keys: Sequence[str]) -> list[bool]:
        """Return of each key whether it is there."""
        answers: list[int] = []
        for some in _slices(keys, self._chunk_count):
            answers += self._ask([Command(b"EXISTS", self._names.entry(key)) for key in some])
        return [answer == 1 for answer in answers]

    def _values(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """Yield what is filed under each key, none of it large; a round trip brings about a chunk."""
        start, count = 0, min(_FIRST_KEYS, self._chunk_count)
        while start < len(keys):
            names = self._names.entries(keys[start : start + count])
            (values,) = self._ask([Command(b"MGET", *names)])
            yield from map(_text, values)
            start += count
            # The next one is sized by what this one weighed.
            mean = sum(map(len, filter(None, values))) // len(names) + 1
            count = min(self._chunk_count, max(_LEAST_KEYS, self._chunk_bytes // mean))

    def _read_large(self, key: str, record: Record) -> Found:
        for _ in range(_TRIES):
            body = self._body(record)
            if body is not None:
                return _parts(key, record, body)
            (value,) = self._values([key])
            newer = None if value is None else Record.parse(key, value)
            if newer is None:
                return value
            if newer == record:
                raise CorruptEntryError(
                    f"pieces of {key} are not there any more: were keys deleted by hand, or evicted "
                    "(maxmemory-policy)? Restore it from another tier or a backup, or forget it",
                    key=key,
                )
            record = newer  # it was replaced between the two looks
        raise PoolError(f"{key} was replaced {_TRIES} times while it was read; try again", pool="redis")

    def _body(self, record: Record) -> bytes | bytearray | None:
        """What the pieces of a record are together; None where one is gone."""
        body: bytes | bytearray = b""
        count = max(1, min(self._chunk_count, self._chunk_bytes * record.pieces // record.nbytes))
        for start in range(0, record.pieces, count):
            numbers = range(start, min(start + count, record.pieces))
            pieces = self._ask([Command(b"GET", self._names.piece(record, n), large=True) for n in numbers])
            if None in pieces:
                return None
            # Grown by what came, not made as large as the record says: that is not checked yet.
            for piece in pieces:
                if body:
                    body += piece
                else:
                    body = piece
            if len(body) > record.nbytes:
                return None  # more than there should be: these are no pieces of this record
        return body

    # -- writing ---------------------------------------------------------------------------------------------

    def store(self, items: Sequence[tuple[str, Blob]], *, replace: bool) -> list[bool]:
        """File blobs in their order, unless ``replace`` only where nothing is; say of each whether it was."""
        large = [] if replace else [key for key, blob in items if _weight(blob) > INLINE_BYTES]
        # Not to send what will be refused; it is the script that decides.
        there = {key for key, found in zip(large, self.exist(large), strict=True) if found}
        answers: list[bool] = []
        some: list[tuple[str, Argument]] = []
        size = 0
        for key, blob in items:
            parts = blob.parts
            nbytes = sum(len(part) for part in parts)
            if nbytes > INLINE_BYTES or size + nbytes > self._chunk_bytes or len(some) >= self._chunk_count:
                answers += (made == 1 for made in self._file(some, replace=replace))
                some, size = [], 0
            if nbytes <= INLINE_BYTES:
                some.append((key, parts))
                size += nbytes
            else:
                answers.append(key not in there and self._store_large(key, parts, replace=replace))
        answers += (made == 1 for made in self._file(some, replace=replace))
        return answers

    def _file(self, items: Sequence[tuple[str, Argument]], *, replace: bool) -> list[int]:
        """File values in one step; say of each what the script does. None of them is large."""
        if not items:
            return []
        keys = [key for key, _ in items]
        values = [value for _, value in items]

        def build(again: bool) -> list[Command]:
            how = REPLACE if replace else CREATE_AGAIN if again else CREATE
            indexes, places = self._indexes(keys)
            names = [*map(self._names.entry, keys), *indexes]
            return [call(STORE, names, len(keys), self._ttl, how, *values, *places)]

        (made,) = _checked(self._connections.run(build))
        return list(made)

    def _store_large(self, key: str, parts: Sequence[Bytes], *, replace: bool) -> bool:
        head = bytes(parts[0]) if len(parts) > 1 and len(parts[0]) <= _HEAD_BYTES else b""
        pieces = list(cut(parts[1:] if head else parts, self._piece_bytes))
        nbytes = sum(view.nbytes for piece in pieces for view in piece)
        record = Record(uuid4().hex, len(pieces), nbytes, head)
        names = [self._names.piece(record, number) for number in range(record.pieces)]
        refreshed = monotonic()
        try:
            for number, piece in enumerate(pieces):
                commands = [Command(b"SET", names[number], piece, b"EX", _PIECE_SECONDS)]
                if monotonic() - refreshed > _REFRESH_SECONDS:
                    refreshed = monotonic()
                    commands += [Command(b"EXPIRE", name, _PIECE_SECONDS) for name in names[:number]]
                self._ask(commands)
        except ResponseError:
            self._discard(names)
            raise
        # Where this fails they are left alone: it may have been done, and only its answer was lost.
        (made,) = self._file([(key, bytes(record))], replace=replace)
        if made != 1:
            self._discard(names)
        if made < 0:
            raise PoolError(
                f"pieces of {key} went away before all of it was there, so it was not stored: does the "
                "server evict keys (maxmemory-policy)? Try again",
                pool="redis",
            )
        return made == 1

    def _discard(self, names: Sequence[bytes]) -> None:
        """Delete pieces that nothing refers to. Should it fail: they go away by themselves."""
        with suppress(RedisError, OSError):
            self._ask([Command(b"UNLINK", name) for name in names])

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete, and say of each key whether it was there."""
        answers: list[bool] = []
        for some in _slices(keys, self._chunk_count):
            answers += self._delete(some)
        return answers

    def _delete(self, keys: Sequence[str]) -> list[bool]:
        repeated = False

        def build(again: bool) -> list[Command]:
            nonlocal repeated
            repeated = again
            indexes, places = self._indexes(keys)
            return [call(DELETE, [*map(self._names.entry, keys), *indexes], len(keys), *places)]

        (answer,) = _checked(self._connections.run(build))
        # What a repeated call does not find was deleted by the try before it, whose answer was lost.
        return [there == 1 or repeated for there in answer]

    # -- evolutions and listing ------------------------------------------------------------------------------

    def newest(self, stems: Sequence[str]) -> list[str | None]:
        """Return for each stem the key of its newest evolution, or None."""
        answers: list[bytes | None] = []
        for some in _slices(stems, self._chunk_count):
            answers += self._ask([call(NEWEST, [self._names.index(stem)]) for stem in some])
        return [
            None if member is None else f"{stem}-{number_of(member)}"
            for stem, member in zip(stems, answers, strict=True)
        ]

    def evolutions(self, stem: str) -> list[int]:
        """Return the numbers of a stem's evolutions, ascending."""
        (members,) = self._ask([Command(b"ZRANGE", self._names.index(stem), 0, -1)])
        numbers = [number_of(member) for member in members]
        # An entry that expires, or is evicted, does not tell its index.
        there = self.exist([f"{stem}-{number}" for number in numbers])
        return [number for number, found in zip(numbers, there, strict=True) if found]

    def keys(self) -> Iterator[str]:
        """Yield every key once."""
        seen = Seen()
        for names in self._pages():
            for name in names:
                if seen.add(name):
                    with suppress(UnicodeDecodeError, PoolKeyError):  # whoever wrote that, it was no pool
                        yield check_key(self._names.key(name))

    def _pages(self) -> Iterator[list[bytes]]:
        """Yield the names of all entries, some at a time; one may come twice."""
        pattern = self._names.every_entry
        return self._connections.pages(
            lambda cursor: Command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN_COUNT)
        )

    def empty(self) -> None:
        """Delete every entry, with its pieces and its line in an index."""
        some: list[str] = []
        for names in self._pages():
            for name in names:
                with suppress(UnicodeDecodeError):
                    some.append(self._names.key(name))
            if len(some) >= self._chunk_count:
                self.delete(some)
                some.clear()
        self.delete(some)

    def _indexes(self, keys: Sequence[str]) -> tuple[list[bytes], list[Argument]]:
        """The indexes of those keys that are evolutions; of each the key's place, and its member."""
        indexes: list[bytes] = []
        places: list[Argument] = []
        for place, key in enumerate(keys, 1):
            found = evolution(key)
            if found is not None:
                indexes.append(self._names.index(found[0]))
                places += (place, found[1])
        return indexes, places

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        """Run what may be run twice."""
        return _checked(self._connections.run(lambda again: commands))


def _text(value: object) -> bytes | None:
    """``value``, which a server may answer as anything."""
    if value is not None and not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"a {type(value).__name__} where bytes belong")
    return value  # type: ignore[return-value]  # what is done with bytes is done with a bytearray too


def _checked(answers: list[Any]) -> list[Any]:
    """Raise the first of the answers that is an error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _weight(blob: Blob) -> int:
    """About the bytes of a blob, found without making its head."""
    return len(blob.tree) + sum(buffer.nbytes for buffer in blob.buffers)


def _holds_head(start: bytes) -> bool:
    """Whether the first bytes of a blob hold all of its head."""
    return 0 < head_nbytes(start) <= len(start)


def _parts(key: str, record: Record, body: bytes | bytearray) -> list[Bytes]:
    """The blob that a record and its pieces are, its buffers as views of the pieces."""
    view = memoryview(body)
    if record.head:
        head = Blob.read_head(record.head, key=key)
        if head.nbytes == head.head_nbytes + view.nbytes:
            starts = [start - head.head_nbytes for start in head.offsets()]
            sizes = [row[0] for row in head.table]
            return [record.head, *(view[a : a + n] for a, n in zip(starts, sizes, strict=True))]
    return [record.head, view] if record.head else [view]
