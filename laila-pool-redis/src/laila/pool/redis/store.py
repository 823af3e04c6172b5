"""The blobs of a pool on its server, in as few round trips as their sizes allow.

Small blobs go through the scripts, many in one call. A larger blob is cut into pieces under names that nobody
looks for. Then one small step puts a record in the blob's place. If a reader has the old record when it is
replaced, it finds the pieces gone, and reads again.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from laila.contract import Blob, check_key, head_nbytes
from laila.errors import CorruptEntryError, LeaseLostError, PoolError, PoolKeyError
from laila.pool.redis.layout import LINE_BYTES, MARK, MARK_BYTES, Names, Record, cut, evolution, number_of
from laila.pool.redis.scripts import CREATE, CREATE_AGAIN, DELETE, NEWEST, REPLACE, STORE, STORE_LEASED
from laila.pool.redis.seen import Seen
from laila.pool.redis.wire import Command, call
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from laila.pool.redis.connections import Connections
    from laila.pool.redis.wire import Argument, Bytes

    Found = bytes | list[Bytes] | None

__all__ = ["INLINE_BYTES", "Store"]

INLINE_BYTES = 256 * 1024
"""A larger blob is kept in pieces, at least one: a script copies its arguments."""
# A head up to this size is stored in the record, and is read with it.
_HEAD_BYTES = 64 * 1024
# The first bytes of an entry that are read for its head: nearly always all of the head.
_HEAD_RANGE = 4096
# The server deletes pieces without a record after this time. While other pieces are sent, the time is
# extended.
_PIECE_SECONDS = 600
_REFRESH_SECONDS = 120
# How many keys to read first, and at least, while their sizes are unknown.
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
        self.names = names
        self._ttl = 0 if ttl is None else max(1, round(ttl * 1000))
        self._chunk_bytes = chunk_bytes
        self._chunk_count = chunk_count
        self._piece_bytes = piece_bytes

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, keys: Sequence[str]) -> list[Found]:
        """Return for each key its blob, whole or in parts, or None."""
        blobs: list[Found] = []
        for key, value in zip(keys, self._values(keys), strict=True):
            record = None if value is None or value[:MARK_BYTES] != MARK else Record.parse(key, value)
            blobs.append(value if record is None else self._read_large(key, record))
        return blobs

    def heads(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return for each key at least the head of its blob, or None."""
        starts: list[bytes] = []
        for batch in _slices(keys, self._chunk_count):
            starts += self.ask(
                [Command(b"GETRANGE", self.names.entry(key), 0, _HEAD_RANGE - 1) for key in batch]
            )
        heads: list[bytes | None] = []
        for key, start in zip(keys, map(_text, starts), strict=True):
            start = start or b""
            record = Record.parse(key, start)
            head = start if record is None else record.head
            if not start:
                heads.append(None)
            elif head and (len(start) < _HEAD_RANGE or _holds_head(head)):
                heads.append(head)
            else:
                heads.append(self._whole_head(key))
        return heads

    def _whole_head(self, key: str) -> bytes | None:
        """Return a longer head with the bytes after it; a blob of nearly only head has it in its pieces."""
        (value,) = self._values([key])
        record = None if value is None else Record.parse(key, value)
        if record is None or record.head:
            return value if record is None else record.head
        body = self._read_large(key, record)
        return b"".join(body) if isinstance(body, list) else body

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """Return for each key how many bytes its blob has, or None."""
        blob_lengths: list[int | None] = []
        for batch in _slices(keys, self._chunk_count):
            names = [self.names.entry(key) for key in batch]
            lengths = self.ask([Command(b"STRLEN", name) for name in names])
            starts = self.ask([Command(b"GETRANGE", name, 0, LINE_BYTES - 1) for name in names])
            for key, length, start in zip(batch, lengths, starts, strict=True):
                record = Record.parse(key, start)
                line = 0 if record is None else len(start) - len(record.head)
                blob_lengths.append((length - line + (0 if record is None else record.nbytes)) or None)
        return blob_lengths

    def reach(self) -> None:
        """Ask for a key that is not there; only an error is looked at."""
        self.ask([Command(b"EXISTS", self.names.entry(""))])

    def exist(self, keys: Sequence[str]) -> list[bool]:
        """Return for each key whether it is there."""
        answers: list[int] = []
        for batch in _slices(keys, self._chunk_count):
            answers += self.ask([Command(b"EXISTS", self.names.entry(key)) for key in batch])
        return [answer == 1 for answer in _numbers(answers, len(keys))]

    def _values(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the stored value of each key, none of them large; a round trip brings about a chunk."""
        start, count = 0, min(_FIRST_KEYS, self._chunk_count)
        while start < len(keys):
            names = self.names.entries(keys[start : start + count])
            (values,) = self.ask([Command(b"MGET", *names)])
            yield from map(_text, values)
            start += count
            # The weight of this page decides the size of the next one.
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
                raise _gone(key)
            record = newer  # somebody replaced the blob between the two reads
        raise PoolError(f"{key} was replaced {_TRIES} times while it was read; try again", pool="redis")

    def _body(self, record: Record) -> bytes | bytearray | None:
        """Return the joined pieces of a record; None if a piece is missing."""
        body: bytes | bytearray = b""
        count = max(1, min(self._chunk_count, self._chunk_bytes * record.pieces // record.nbytes))
        for start in range(0, record.pieces, count):
            numbers = range(start, min(start + count, record.pieces))
            pieces = self.ask([Command(b"GET", self.names.piece(record, n)) for n in numbers])
            if None in pieces:
                return None
            # Grows with the bytes that came, because the size in the record is not checked yet.
            for piece in pieces:
                if body:
                    body += piece
                else:
                    body = piece
            if len(body) > record.nbytes:
                return None  # more bytes than there should be: these are not pieces of this record
        return body

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """The bytes of some ranges of a blob, fewer of one where it ends before; None where it is missing."""
        last: Record | None = None
        for _ in range(_TRIES):
            (value,) = self._values([key])
            record = None if value is None else Record.parse(key, value)
            if record is None:
                return None if value is None else [bytes(value[start:stop]) for start, stop in ranges]
            found = self._ranges_of(record, ranges)
            if found is not None:
                return found
            if record == last:
                raise _gone(key)
            last = record  # was it replaced between the two looks?
        raise PoolError(f"{key} was replaced {_TRIES} times while it was read; try again", pool="redis")

    def _ranges_of(self, record: Record, ranges: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Ranges of what a record stands for; None where a piece is gone."""
        names = self.names
        (size,) = self.ask([Command(b"STRLEN", names.piece(record, 0))])
        if not size or -(-record.nbytes // size) != record.pieces:
            return None
        head, before = record.head, len(record.head)
        wanted: list[tuple[int, int, int]] = []  # number of a piece, first byte, the one after the last
        places: list[list[int]] = []
        for start, stop in ranges:
            low, high = max(start - before, 0), min(stop - before, record.nbytes)
            places.append([])
            for number in range(low // size, -(-high // size) if high > low else low // size):
                places[-1].append(len(wanted))
                wanted.append((number, max(low - number * size, 0), min(high - number * size, size)))
        pieces: list[bytes] = []
        count = max(1, min(self._chunk_count, self._chunk_bytes // size))
        for at in range(0, len(wanted), count):
            pieces += self.ask(
                [
                    Command(b"GETRANGE", names.piece(record, number), first, stop - 1)
                    for number, first, stop in wanted[at : at + count]
                ]
            )
        if any(len(piece) != stop - first for piece, (_, first, stop) in zip(pieces, wanted, strict=True)):
            return None
        return [
            b"".join((head[start:stop], *(pieces[place] for place in some)))
            for (start, stop), some in zip(ranges, places, strict=True)
        ]

    # -- writing ---------------------------------------------------------------------------------------------

    def store(self, items: Sequence[tuple[str, Blob]], *, replace: bool) -> list[bool]:
        """Store blobs in order; say for each whether it was. Without ``replace``, existing blobs stay."""
        large = [] if replace else [key for key, blob in items if _weight(blob) > INLINE_BYTES]
        # This avoids sending values that will be refused; the script decides.
        taken_keys = {key for key, exists in zip(large, self.exist(large), strict=True) if exists}
        answers: list[bool] = []
        batch: list[tuple[str, Argument]] = []
        size = 0
        for key, blob in items:
            parts = blob.parts
            nbytes = sum(len(part) for part in parts)
            if nbytes > INLINE_BYTES or size + nbytes > self._chunk_bytes or len(batch) >= self._chunk_count:
                answers += (made == 1 for made in self._file(batch, replace=replace))
                batch, size = [], 0
            if nbytes <= INLINE_BYTES:
                batch.append((key, parts))
                size += nbytes
            else:
                answers.append(key not in taken_keys and self._store_large(key, parts, replace=replace))
        answers += (made == 1 for made in self._file(batch, replace=replace))
        return answers

    def _file(self, items: Sequence[tuple[str, Argument]], *, replace: bool) -> list[int]:
        """Store small values in one step; say for each what the script did."""
        if not items:
            return []
        keys = [key for key, _ in items]
        values = [value for _, value in items]

        def build(again: bool) -> list[Command]:
            how = REPLACE if replace else CREATE_AGAIN if again else CREATE
            indexes, places = self._indexes(keys)
            names = [*map(self.names.entry, keys), *indexes]
            return [call(STORE, names, len(keys), self._ttl, how, *values, *places)]

        (made,) = _checked(self._connections.run(build))
        return _numbers(made, len(keys))

    def _store_large(self, key: str, parts: Sequence[Bytes], *, replace: bool) -> bool:
        record, names = self._send_pieces(parts)
        # If this fails, the pieces stay: it may have been done, and only its answer was lost.
        (made,) = self._file([(key, bytes(record))], replace=replace)
        if made != 1:
            self._discard(names)
        if made < 0:
            raise _evicted(key)
        return made == 1

    def _send_pieces(self, parts: Sequence[Bytes]) -> tuple[Record, list[bytes]]:
        """Store the pieces of a blob; return their record, which is not stored, and their names."""
        head = bytes(parts[0]) if len(parts) > 1 and len(parts[0]) <= _HEAD_BYTES else b""
        pieces = list(cut(parts[1:] if head else parts, self._piece_bytes))
        nbytes = sum(view.nbytes for piece in pieces for view in piece)
        record = Record(uuid4().hex, len(pieces), nbytes, head)
        names = [self.names.piece(record, number) for number in range(record.pieces)]
        refreshed = monotonic()
        try:
            for number, piece in enumerate(pieces):
                commands = [Command(b"SET", names[number], piece, b"EX", _PIECE_SECONDS)]
                if monotonic() - refreshed > _REFRESH_SECONDS:
                    refreshed = monotonic()
                    commands += [Command(b"EXPIRE", name, _PIECE_SECONDS) for name in names[:number]]
                self.ask(commands)
        except ResponseError:
            self._discard(names)
            raise
        return record, names

    # -- leases ----------------------------------------------------------------------------------------------

    def store_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        """Store all blobs in one step if the leases have these tokens, and none of the blobs is there.

        Raises :class:`LeaseLostError`.
        """
        values: list[Argument] = []
        sent: list[bytes] = []
        room = INLINE_BYTES
        for _, blob in items:
            parts = blob.parts
            nbytes = sum(len(part) for part in parts)
            if nbytes <= room:
                room -= nbytes
                values.append(parts)
            else:
                record, names = self._send_pieces(parts)
                sent += names
                values.append(bytes(record))
        keys = [key for key, _ in items]

        def build(again: bool) -> list[Command]:
            indexes, places = self._indexes(keys)
            names = [*map(self.names.entry, keys), *indexes, *map(self.names.lease, tokens)]
            how = CREATE_AGAIN if again else CREATE
            return [
                call(
                    STORE_LEASED,
                    names,
                    len(keys),
                    self._ttl,
                    how,
                    *values,
                    *places,
                    *tokens.values(),
                    len(tokens),
                )
            ]

        (made,) = _checked(self._connections.run(build))
        if made != 1:
            self._discard(sent)
        if made == -2:
            some = next(iter(tokens))
            raise LeaseLostError(
                f"the lease of {some}, or of another entry that was lent with it, is over, and another "
                "borrower has had it since: nothing was written. Borrow the entries again, and repeat the "
                "work",
                key=some,
            )
        if made < 0:
            raise _evicted(keys[0])
        return bool(made == 1)

    def leased(self) -> list[str]:
        """Return the keys that have a record of a lease."""
        pattern = self.names.every_lease
        found: set[str] = set()
        for names in self._connections.pages(
            lambda cursor: Command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN_COUNT)
        ):
            for name in names:
                with suppress(UnicodeDecodeError):
                    found.add(self.names.leased(name))
        return sorted(found)

    def _discard(self, names: Sequence[bytes]) -> None:
        """Delete pieces that nothing refers to. If that fails, the server deletes them later."""
        with suppress(RedisError, OSError):
            self.ask([Command(b"UNLINK", name) for name in names])

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Delete keys, and say for each whether it was there."""
        answers: list[bool] = []
        for batch in _slices(keys, self._chunk_count):
            answers += self._delete(batch)
        return answers

    def _delete(self, keys: Sequence[str]) -> list[bool]:
        repeated = False

        def build(again: bool) -> list[Command]:
            nonlocal repeated
            repeated = again
            indexes, places = self._indexes(keys)
            return [call(DELETE, [*map(self.names.entry, keys), *indexes], len(keys), *places)]

        (answer,) = _checked(self._connections.run(build))
        # An earlier try, whose answer was lost, deleted the keys that a repeated call does not find.
        return [existed == 1 or repeated for existed in _numbers(answer, len(keys))]

    # -- evolutions and listing ------------------------------------------------------------------------------

    def newest(self, stems: Sequence[str]) -> list[str | None]:
        """Return for each stem the key of its newest evolution, or None."""
        answers: list[bytes | None] = []
        for batch in _slices(stems, self._chunk_count):
            answers += self.ask([call(NEWEST, [self.names.index(stem)]) for stem in batch])
        return [
            None if member is None else f"{stem}-{number_of(member)}"
            for stem, member in zip(stems, answers, strict=True)
        ]

    def evolutions(self, stem: str) -> list[int]:
        """Return the numbers of a stem's evolutions, ascending."""
        (members,) = self.ask([Command(b"ZRANGE", self.names.index(stem), 0, -1)])
        numbers = [number_of(member) for member in members]
        # The server does not update the index when an entry expires or is evicted.
        existing = self.exist([f"{stem}-{number}" for number in numbers])
        return [number for number, exists in zip(numbers, existing, strict=True) if exists]

    def keys(self) -> Iterator[str]:
        """Yield every key once."""
        seen = Seen()
        for names in self._pages():
            for name in names:
                if seen.add(name):
                    with suppress(UnicodeDecodeError, PoolKeyError):  # another program wrote that
                        yield check_key(self.names.key(name))

    def _pages(self) -> Iterator[list[bytes]]:
        """Yield the names of all entries, some at a time; a name may come twice."""
        pattern = self.names.every_entry
        return self._connections.pages(
            lambda cursor: Command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN_COUNT)
        )

    def empty(self) -> None:
        """Delete every entry, with its pieces and its line in an index."""
        batch: list[str] = []
        for names in self._pages():
            for name in names:
                with suppress(UnicodeDecodeError):
                    batch.append(self.names.key(name))
            if len(batch) >= self._chunk_count:
                self.delete(batch)
                batch.clear()
        self.delete(batch)

    def _indexes(self, keys: Sequence[str]) -> tuple[list[bytes], list[Argument]]:
        """Return the indexes of keys that are evolutions, with each key's place and member."""
        indexes: list[bytes] = []
        places: list[Argument] = []
        for place, key in enumerate(keys, 1):
            split = evolution(key)
            if split is not None:
                indexes.append(self.names.index(split[0]))
                places += (place, split[1])
        return indexes, places

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands that may be run twice."""
        return _checked(self._connections.run(lambda again: commands))


def _text(value: object) -> bytes | None:
    """Return ``value``, because a server may answer with any type."""
    if value is not None and not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"a {type(value).__name__} where bytes belong")
    return value  # type: ignore[return-value]  # the callers treat a bytearray like bytes


def _evicted(key: str) -> PoolError:
    return PoolError(
        f"pieces of {key} went away before all of it was there, so it was not stored: does the "
        "server evict keys (maxmemory-policy)? Try again",
        pool="redis",
    )


def _numbers(answer: Any, count: int) -> list[int]:
    """Return ``answer``, because a server may answer with anything in the place of so many numbers."""
    if type(answer) is not list or len(answer) != count or any(type(number) is not int for number in answer):
        raise TypeError(f"something other than {count} numbers")
    return answer


def _gone(key: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"pieces of {key} are not there any more: were keys deleted by hand, or evicted "
        "(maxmemory-policy)? Restore it from another tier or a backup, or forget it",
        key=key,
    )


def _checked(answers: list[Any]) -> list[Any]:
    """Raise the first answer that is an error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _weight(blob: Blob) -> int:
    """Return about the number of bytes of a blob, without making its head."""
    return len(blob.tree) + sum(buffer.nbytes for buffer in blob.buffers)


def _holds_head(start: bytes) -> bool:
    """Whether the first bytes of a blob hold all of its head."""
    return 0 < head_nbytes(start) <= len(start)


def _parts(key: str, record: Record, body: bytes | bytearray) -> list[Bytes]:
    """Return the blob of a record and its pieces; its buffers are views of the pieces."""
    view = memoryview(body)
    if record.head:
        head = Blob.read_head(record.head, key=key)
        if head.nbytes == head.head_nbytes + view.nbytes:
            starts = [start - head.head_nbytes for start in head.offsets()]
            sizes = [row[0] for row in head.table]
            return [record.head, *(view[a : a + n] for a, n in zip(starts, sizes, strict=True))]
    return [record.head, view] if record.head else [view]
