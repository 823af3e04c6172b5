"""What is in the file: its tables, and how a blob is cut into their rows.

A row has one mebibyte of a blob at most. So SQLite's limit for a row (1 GB) bounds nothing, and a part of a
blob is read without the rest. Whatever somebody else may have put into the file is checked when it is read:
the tables when a connection opens, each row when it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from laila.contract import allocate, head_nbytes, shown, split_evolution
from laila.errors import CorruptEntryError, PoolFormatError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from laila.contract import Blob, BytesLike

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "LONGEST_ROW",
    "MOST_BYTES",
    "SCHEMA",
    "check_tables",
    "read",
    "read_head",
    "read_ranges",
    "remove",
    "remove_all",
    "remove_number",
    "store",
]

APPLICATION_ID = int.from_bytes(b"LPSQ")
"""Tells this pool's files from other SQLite files (PRAGMA application_id)."""
FORMAT_VERSION = 1
CHUNK = 1 << 20
LONGEST_ROW = 4 * CHUNK
"""A longer row is nothing that the pool wrote."""
MOST_BYTES = 1 << 40
"""The largest blob."""
_NUMBERS = 20  # bits of a chunk's id that count the chunks of one entry

SCHEMA = (
    """CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    stem TEXT,       -- of a key <stem>-<number>
    evolution TEXT,  -- the number, with the count of its digits before it: so it sorts as text
    size INTEGER NOT NULL,  -- of the blob, in bytes
    head BLOB NOT NULL,     -- the head of the blob, or its first MiB
    body BLOB               -- the bytes after those; NULL where they are more than a MiB: then in chunks
)""",
    "CREATE INDEX evolutions ON entries (stem, evolution) WHERE stem IS NOT NULL",
    """CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,  -- of the entry, times 1048576, and the number of the chunk
    data BLOB NOT NULL       -- a MiB of the blob; the last chunk has the rest
)""",
    """CREATE TABLE uses (
    entry INTEGER PRIMARY KEY,
    used INTEGER NOT NULL  -- a count that grows: the least is what was used least recently
)""",
    "CREATE INDEX recency ON uses (used)",
)
_NAMES = {f"sqlite_stat{n}" for n in range(1, 5)}  # what ANALYZE of any SQLite tool makes
_TABLES = {" ".join(statement.split()) for statement in SCHEMA}

_INSERT = (
    "INSERT INTO entries (key, stem, evolution, size, head, body) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (key) DO NOTHING"
)
_READ = "SELECT id, size, head, body FROM entries WHERE key = ?"
_READ_HEAD = "SELECT id, size, head FROM entries WHERE key = ?"
_CHUNKS = "SELECT id, data FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
_PART = "SELECT substr(data, ?, ?) FROM chunks WHERE id = ?"
_REMOVE_CHUNKS = "DELETE FROM chunks WHERE id BETWEEN ? AND ?"


def check_tables(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the tables are there; False for a file without any.

    Raises:
        PoolFormatError: the file has something else: it is another program's, or somebody forged it.
    """
    ((application_id,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((encoding,),) = connection.execute("PRAGMA encoding")
    tables = connection.execute("SELECT name, sql FROM sqlite_master LIMIT 100").fetchall()
    if not application_id and not tables:
        return False
    if application_id != APPLICATION_ID or encoding != "UTF-8":
        raise PoolFormatError(
            f"{path} is another program's SQLite file; it was left as it is. Give another path", pool=path
        )
    if version != FORMAT_VERSION:
        raise PoolFormatError(
            f"{path} has version {shown(version)} of the format, and this laila-pool-sqlite knows version "
            f"{FORMAT_VERSION}: upgrade it",
            pool=path,
        )
    made = {" ".join(sql.split()) for name, sql in tables if type(sql) is str and name not in _NAMES}
    # A view or a trigger of somebody else's would be code that runs when the pool reads or writes.
    if made != _TABLES:
        what = min(made ^ _TABLES)
        raise PoolFormatError(
            f"{path} has not the tables that this pool makes ({shown(what, 80)} differs); it was left as it "
            "is. Restore it from a backup, or remove what was added",
            pool=path,
        )
    return True


# -- writing -------------------------------------------------------------------------------------------------


def store(connection: sqlite3.Connection, key: str, blob: Blob) -> bool:
    """Add the rows of an entry, unless the key is there; return whether they were added."""
    split = split_evolution(key)
    head, *rest = blob.parts
    size = len(head) + sum(memoryview(part).nbytes for part in rest)
    if len(head) > CHUNK:
        head, rest = head[:CHUNK], [memoryview(head)[CHUNK:], *rest]
    short = size - len(head) <= CHUNK
    body = (rest[0] if len(rest) == 1 else b"".join(rest)) if short else None
    cursor = connection.execute(
        _INSERT,
        (
            key,
            None if split is None else split[0],
            None if split is None else f"{len(split[1]):03}{split[1]}",
            size,
            head,
            body,
        ),
    )
    if cursor.rowcount != 1:
        return False
    number = cursor.lastrowid or 0
    first, last = _chunks_of(number)
    if not first:
        raise PoolFormatError("the numbers of its entries are not what was written: the file is damaged")
    if not short:
        connection.execute(_REMOVE_CHUNKS, (first, last))  # nothing, unless somebody forged the file
        rows = ((first + n, chunk) for n, chunk in enumerate(_cut(rest)))
        connection.executemany("INSERT INTO chunks (id, data) VALUES (?, ?)", rows)
    return True


def _cut(parts: Iterable[BytesLike]) -> Iterator[BytesLike]:
    """Yield all bytes of ``parts``, a MiB at a time; what lies in one part is not copied."""
    waiting: list[memoryview] = []
    room = CHUNK
    for part in parts:
        view = memoryview(part).cast("B")
        while view.nbytes:
            piece, view = view[:room], view[room:]
            waiting.append(piece)
            room -= piece.nbytes
            if not room:
                yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
                waiting, room = [], CHUNK
    if waiting:
        yield b"".join(waiting)


def _chunks_of(number: int) -> tuple[int, int]:
    """The first and the last id that chunks of an entry may have; 0 and -1 for a number of no entry."""
    if not 0 < number < 1 << (63 - _NUMBERS):
        return 0, -1
    return number << _NUMBERS, ((number + 1) << _NUMBERS) - 1


def remove(connection: sqlite3.Connection, key: str) -> bool:
    """Delete an entry; return whether it was there."""
    row = connection.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchone()
    if row is None:
        return False
    remove_number(connection, row[0])
    return True


def remove_number(connection: sqlite3.Connection, number: int) -> None:
    """Delete all rows of an entry."""
    connection.execute("DELETE FROM entries WHERE id = ?", (number,))
    connection.execute(_REMOVE_CHUNKS, _chunks_of(number))
    connection.execute("DELETE FROM uses WHERE entry = ?", (number,))


def remove_all(connection: sqlite3.Connection) -> None:
    """Delete the rows of all entries."""
    for table in ("entries", "chunks", "uses"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names above


# -- reading -------------------------------------------------------------------------------------------------


def read(connection: sqlite3.Connection, key: str) -> bytes | memoryview | None:
    """Return all bytes of an entry, of a large one in memory of its own; None if it is not there."""
    row = connection.execute(_READ, (key,)).fetchone()
    if row is None:
        return None
    number, size, head = _checked(connection, key, row)
    body = row[3]
    if body is not None:
        whole = head + _bytes(key, body) if body else head
        if len(whole) != size:
            raise _damaged(key, "its size is another")
        return whole
    memory = allocate(size)
    memory[: len(head)] = head
    end = len(head)
    first = number << _NUMBERS
    # One MiB is in memory twice at a time.
    for n, (found, data) in enumerate(connection.execute(_CHUNKS, (first, first + _last(size - end)))):
        if found != first + n or len(_bytes(key, data)) != min(CHUNK, size - end):
            raise _damaged(key, f"chunk {n} is missing, or of another length")
        memory[end : end + len(data)] = data
        end += len(data)
    if end != size:
        raise _damaged(key, "its last chunks are missing")
    return memory


def read_head(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return the first bytes of an entry, with all of its head."""
    row = connection.execute(_READ_HEAD, (key,)).fetchone()
    if row is None:
        return None
    _, size, start = _checked(connection, key, row)
    missing = min(head_nbytes(start), size) - len(start)
    if missing <= 0:
        return start
    found = read_ranges(connection, key, [(0, len(start) + missing)])
    return None if found is None else found[0]


def read_ranges(
    connection: sqlite3.Connection, key: str, ranges: Sequence[tuple[int, int]]
) -> list[bytes] | None:
    """Return the bytes of some ranges of an entry; fewer of one where the blob ends before."""
    row = connection.execute(_READ, (key,)).fetchone()
    if row is None:
        return None
    number, size, head = _checked(connection, key, row)
    body, first, skip = row[3], number << _NUMBERS, len(head)
    whole = head if body is None else head + _bytes(key, body)
    results = []
    for start, stop in ranges:
        pieces = [whole[start:stop]]
        if body is None:
            place, end = max(start - skip, 0), min(stop, size) - skip
            while place < end:
                n, offset = divmod(place, CHUNK)
                count = min(CHUNK - offset, end - place)
                piece = connection.execute(_PART, (offset + 1, count, first + n)).fetchone()
                if piece is None or len(_bytes(key, piece[0])) != count:
                    raise _damaged(key, f"chunk {n} is missing, or of another length")
                pieces.append(piece[0])
                place += count
        results.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    return results


def _last(nbytes: int) -> int:
    """The number of the last chunk of so many bytes."""
    return max(0, (nbytes - 1) // CHUNK)


def _checked(connection: sqlite3.Connection, key: str, row: Sequence[Any]) -> tuple[int, int, bytes]:
    """Check what a row says of an entry before anything is done by it."""
    number, size, head = row[0], row[1], row[2]
    if type(size) is not int or type(head) is not bytes or not len(head) <= size <= MOST_BYTES:
        raise _damaged(key, "its row is not what was written")
    if not _chunks_of(number)[0]:
        raise _damaged(key, "it has a number that no entry has")
    if size > LONGEST_ROW:
        ((pages,),), ((page_bytes,),) = (
            connection.execute(f"PRAGMA {each}") for each in ("page_count", "page_size")
        )
        if size > pages * page_bytes:
            raise _damaged(key, "it says that it is longer than the file")
    return number, size, head


def _bytes(key: str, data: object) -> bytes:
    if type(data) is not bytes:
        raise _damaged(key, "its row is not what was written")
    return data


def _damaged(key: str, what: str) -> CorruptEntryError:
    return CorruptEntryError(f"what is filed under {shown(key)} is damaged: {what}", key=key)
