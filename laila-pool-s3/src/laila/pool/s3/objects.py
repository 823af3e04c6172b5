"""Everything that pools on object stores share: the contract's methods, as requests for objects."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal
from uuid import uuid4

from laila.contract import Blob, Pool, allocate, head_nbytes, locks, logger, shown
from laila.errors import CorruptEntryError
from laila.pool.s3.client import DELETED_AT_ONCE, Client, Failed, Piece
from laila.pool.s3.errors import AccessDeniedError, ObjectStoreError
from laila.pool.s3.helper_pool import HelperPool
from laila.pool.s3.leases import S3Leases
from laila.pool.s3.names import FOLDER, evolutions_folder, name_of, parse_name
from laila.pool.s3.ranges import answered, requests
from laila.pool.s3.settings import MIB, S3Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from laila.contract import Transformation, TransformationSequence
    from laila.pool.s3.messages import Place
    from laila.pool.s3.names import Named
    from laila.pool.s3.stores import Open

__all__ = ["ObjectPool"]

_log = logger("laila.pool.s3")

_HEAD = 4096  # bytes of the object that are read for its head; a longer head is read again
# at least in one request, if there are many requests: fewer cost more requests than they gain
_FEW_DELETED = 25
_REPLACED = 20  # how often a reader begins again because somebody replaced the object meanwhile


class _Replaced(Exception):
    """Another version of the object answered, not the version that is being read."""


class ObjectPool(Pool):
    """A pool whose blobs are objects in a bucket. Thread-safe; not usable in a forked child."""

    laila_contract = 1
    durability = "power"
    writers = "network"
    creation: ClassVar[Literal["process", "host", "network"]] = "network"
    max_blob_bytes = 5 * 1024 * MIB  # one PUT takes no more, and only a single PUT can be conditional

    settings: S3Settings

    def __init__(
        self,
        settings: S3Settings,
        *,
        nickname: str | None,
        transformations: Iterable[str | Transformation] | TransformationSequence,
        write: Literal["through"] | None,
    ) -> None:
        super().__init__(nickname=nickname, transformations=transformations, write=write, settings=settings)
        prefix = settings.key_prefix.strip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._helper_pool = HelperPool(settings.concurrency, f"laila-{settings.prefix}")
        # One lock a key, if the service does not make creation atomic.
        self._creating = [locks.long_lock() for _ in range(0 if settings.conditional_create else 64)]
        # _delete says whether a key was there, so nobody needs to ask for each key first
        self._tells_deletes = True

    def _connect(self, open_store: Open, place: Place) -> None:
        """Open the client: the second half of the constructor. Requests work from here on."""
        self._bucket = place.bucket
        self._client = Client(open_store, place, self.settings)

    def _close(self) -> None:
        self._client.close()
        self._helper_pool.close()

    def _name(self, key: str) -> str:
        return self._root + name_of(key)

    def check(self) -> None:
        """Try out the service's features with an object that is deleted again. Blocks.

        Some services accept a request and ignore a part of it. Without conditional writes, two writers would
        overwrite each other's constants, and neither would notice. Raises :class:`ObjectStoreError`, which
        says what the service lacks and which option works without it, and any error of a request.
        """
        self._check_open()
        stem = f"laila-check-{uuid4()}"
        key = f"{stem}-1"
        name = self._name(key)
        first, second = Blob(key, b"\x90"), Blob(key, b"\x91\xc0")
        created = self._create(key, first)
        try:
            if not created:
                raise self._error("could not be created, although it is new", name, key)
            if self._create(key, second) or bytes(self._read(key) or b"") != bytes(first):
                raise self._error(
                    "was overwritten by a conditional write: the service does not honour If-None-Match. Pass "
                    "conditional_create=False, and let only one process write at a time",
                    name,
                    key,
                )
            if self._evolutions(stem) != [1]:
                raise self._error("is not listed: the service's listings are not up to date", name, key)
        finally:
            self._client.delete([name])

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, key: str) -> memoryview | bytes | None:
        return self._get(self._name(key), key)

    def _read_many(self, keys: Sequence[str]) -> list[Blob | memoryview | bytes | None]:
        return self._helper_pool.map(self._read_verified, keys)

    def _read_verified(self, key: str) -> Blob | memoryview | bytes | None:
        """Read a blob and verify it, while others of the batch are on their way."""
        body = self._read(key)
        try:
            # Nobody else uses the memory that the blob was read into, if it is writable.
            return None if body is None else Blob.from_bytes(body, key=key, owned=True)
        except CorruptEntryError:
            return body  # the caller reports it, with the pool's name; the other blobs are not damaged

    def _read_head(self, key: str) -> memoryview | bytes | None:
        return self._get_head(self._name(key), key)

    def _read_heads(self, keys: Sequence[str]) -> list[memoryview | bytes | None]:
        return self._helper_pool.map(self._read_head, keys)

    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes | memoryview] | None:
        """Read ranges of one version of an object, in parallel; see :func:`laila.pool.s3.ranges.requests`."""
        name = self._name(key)
        asked = requests(ranges, self.settings.part_bytes)
        if not asked:
            return [b"" for _ in ranges] if self._exists(key) else None
        for _ in range(_REPLACED):
            found = self._helper_pool.map(partial(self._get_range, name, key), asked)
            pieces = [piece for piece in found if piece is not None]
            if len(pieces) < len(found):
                return None
            versions = {piece.version for piece in pieces if piece.data is not None}
            if len(versions) <= 1 or len(asked) == 1:
                return answered(ranges, asked, [piece.data or memoryview(b"") for piece in pieces])
        raise self._replaced(name, key)

    def _read_ranges_many(
        self, asked: Sequence[tuple[str, Sequence[tuple[int, int]]]]
    ) -> list[list[bytes | memoryview] | None]:
        """Read ranges of several objects, all of them in parallel."""
        spans = [requests(ranges, self.settings.part_bytes) for _, ranges in asked]
        flat = [
            (self._name(key), key, span) for (key, _), some in zip(asked, spans, strict=True) for span in some
        ]
        found = iter(self._helper_pool.map(lambda one: self._get_range(*one), flat))
        answers: list[list[bytes | memoryview] | None] = []
        for (key, ranges), some in zip(asked, spans, strict=True):
            pieces = [next(found) for _ in some]
            there = [piece for piece in pieces if piece is not None]
            versions = {piece.version for piece in there if piece.data is not None}
            if not some or (len(versions) > 1 and len(some) > 1):
                answers.append(self._read_ranges(key, ranges))  # it was replaced meanwhile
            elif len(there) < len(some):
                answers.append(None)
            else:
                answers.append(answered(ranges, some, [piece.data or memoryview(b"") for piece in there]))
        return answers

    def _get_range(self, name: str, key: str, span: tuple[int, int]) -> Piece | None:
        try:
            return self._client.get_part(name, key, *span)
        except Failed:  # it ends before the first byte
            return Piece(None, 0, None)

    def _exists(self, key: str) -> bool:
        return self._client.exists(self._name(key), key)

    def _exist_many(self, keys: Sequence[str]) -> list[bool]:
        return self._helper_pool.map(self._exists, keys)

    def _get(self, name: str, key: str | None) -> memoryview | bytes | None:
        """Read an object, all of it from one version; None if it is missing."""
        for _ in range(_REPLACED):
            whole = self._client.get(name, key)
            if whole is None:
                return None
            if whole.data is not None:
                return whole.data
            try:
                return self._get_in_parts(name, key, whole, whole.size)
            except _Replaced:
                continue
        raise self._replaced(name, key)

    def _get_head(self, name: str, key: str | None) -> memoryview | bytes | None:
        """Read the head of an object; None if it is missing."""
        for _ in range(_REPLACED):
            try:
                start = self._client.get_part(name, key, 0, _HEAD)
            except Failed:  # an empty object
                return b""
            if start is None:
                return None
            data = start.data or memoryview(b"")
            nbytes = head_nbytes(data)
            if min(nbytes, start.size) <= len(data):
                return data
            try:
                return self._get_in_parts(name, key, start, min(nbytes, start.size))
            except _Replaced:
                continue
        raise self._replaced(name, key)

    def _get_in_parts(self, name: str, key: str | None, version: Piece, nbytes: int) -> memoryview:
        """Read the first ``nbytes`` of one version of a large object, in parallel."""
        if self.max_blob_bytes is not None and nbytes > self.max_blob_bytes:
            raise self._error(
                f"has {nbytes} bytes, and no blob has more than {self.max_blob_bytes}: it is somebody "
                "else's. Delete it",
                name,
                key,
            )
        # If versions cannot be told apart, only a single request never mixes two.
        count = 1 if version.version is None else math.ceil(nbytes / self.settings.part_bytes)
        edges = [nbytes * i // count for i in range(count + 1)]
        buffer = allocate(nbytes)

        def read(part: int) -> None:
            start, stop = edges[part], edges[part + 1]
            try:
                piece = self._client.get_part(name, key, start, stop, buffer[start:stop])
            except Failed:
                raise _Replaced from None
            if piece is None or piece[1:] != version[1:] or len(piece.data or b"") != stop - start:
                raise _Replaced

        self._helper_pool.map(read, range(count))
        return buffer

    def _replaced(self, name: str, key: str | None) -> ObjectStoreError:
        return self._error(
            f"was replaced each of {_REPLACED} times while it was read; try again when its writers are done",
            name,
            key,
        )

    def _error(self, what: str, name: str, key: str | None) -> ObjectStoreError:
        return ObjectStoreError(
            f"{key or name} in pool {shown(self.label)}, bucket {shown(self._bucket)}, {what}",
            pool=self.label,
            bucket=self._bucket,
            key=key,
            code=None,
            status=None,
        )

    # -- listing -------------------------------------------------------------------------------------------

    def _names(self, folder: str) -> Iterator[dict[str, Named]]:
        """Yield the full names of this pool's objects in ``folder``, page by page."""
        skip = len(self._root)
        for page in self._client.list(self._root + folder):
            yield {name: named for name in page if (named := parse_name(name[skip:])) is not None}

    def _keys(self) -> Iterator[str]:
        for names in self._names(FOLDER):
            hashed = [name for name, named in names.items() if named.key is None]
            hashed_keys = dict(zip(hashed, self._helper_pool.map(self._key_in, hashed), strict=True))
            for name, named in names.items():
                key = hashed_keys[name] if named.key is None else named.key
                if key is not None:
                    yield key

    def _key_in(self, name: str) -> str | None:
        """Return the key in the head of an object with a hashed name; None if it is gone or damaged."""
        start = self._get_head(name, None)
        try:
            return None if start is None else Blob.read_head(start).key
        except CorruptEntryError as error:
            _log.warning("object %s in bucket %s is left out of a listing: %s", name, self._bucket, error)
            return None

    def _evolutions(self, stem: str) -> list[int]:
        folder = self._root + evolutions_folder(stem)
        numbers = [
            named.number
            for names in self._names(evolutions_folder(stem))
            for name, named in names.items()
            if named.number is not None and name.startswith(f"{folder}/")
        ]
        return sorted(numbers)

    def histories_here(self, stems: Sequence[str]) -> list[list[int]]:
        """Return the evolutions of each stem; lists several stems at a time. Blocks."""
        self._check_open()
        return self._helper_pool.map(self._evolutions, stems)

    # -- writing -------------------------------------------------------------------------------------------

    def _write(self, key: str, blob: Blob) -> None:
        parts = [part for part in blob.parts if len(part)]
        if sum(map(len, parts)) > self.settings.large_bytes:
            self._client.put_in_parts(self._name(key), key, parts)
        else:
            self._client.put(self._name(key), key, parts, create=False)

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        last = dict(items)  # the later of two items with one key stays
        self._helper_pool.map(lambda item: self._write(*item), list(last.items()))

    def _create(self, key: str, blob: Blob) -> bool:
        if self.creation == "process":
            with self._creating[hash(key) % len(self._creating)]:
                if self._exists(key):
                    return False
                self._write(key, blob)
                return True
        parts = [part for part in blob.parts if len(part)]
        return self._client.put(self._name(key), key, parts, create=True)

    def _create_many(self, items: Sequence[tuple[str, Blob]]) -> list[bool]:
        first: dict[str, int] = {}  # the earlier of two items with one key is made
        for place, (key, _) in enumerate(items):
            first.setdefault(key, place)
        made = self._helper_pool.map(lambda place: self._create(*items[place]), list(first.values()))
        created = dict(zip(first.values(), made, strict=True))
        return [created.get(place, False) for place in range(len(items))]

    def _lease_table(self) -> S3Leases | None:
        if self.creation == "process":  # the service does not compare before it writes
            return None
        return S3Leases(self._client, self._helper_pool, self._root)

    def _delete(self, key: str) -> bool:
        return self._delete_many([key])[0]

    def _delete_many(self, keys: Sequence[str]) -> list[bool]:
        # Deleting does not say which keys were there, so the pool asks before.
        existing = self._existing(list(dict.fromkeys(keys)))
        self._delete_objects([self._name(key) for key in existing])
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        deleted = {first[key] for key in existing}
        return [place in deleted for place in range(len(keys))]

    def _existing(self, keys: Sequence[str]) -> list[str]:
        """Return those of ``keys`` that exist, in any order."""
        unknown = {self._name(key): key for key in keys}
        existing: list[str] = []
        at_once = self.settings.concurrency
        # A page of a listing takes no longer than a few questions, and a small pool has few pages.
        if len(unknown) > at_once:
            with suppress(AccessDeniedError):  # a user who may not list may still ask
                for page in self._client.list(self._root + FOLDER):
                    listed = [unknown.pop(name) for name in page if name in unknown]
                    existing += listed
                    if len(listed) < 2 * at_once or len(unknown) <= at_once:
                        break
        others = list(unknown.values())
        answers = self._helper_pool.map(self._exists, others)
        return existing + [key for key, answer in zip(others, answers, strict=True) if answer]

    def _delete_objects(self, names: Sequence[str]) -> None:
        """Delete objects, many in each request, several requests at a time: services delete one by one."""
        size = 1
        if self.settings.bulk_delete:
            even = math.ceil(len(names) / self.settings.concurrency)
            size = min(max(even, _FEW_DELETED), DELETED_AT_ONCE)
        self._helper_pool.map(self._client.delete, [names[i : i + size] for i in range(0, len(names), size)])

    def _empty(self) -> None:
        for names in self._names(FOLDER):
            self._delete_objects(list(names))
