"""Requests to one bucket: repeated while that may help, bounded in time, with errors that say what to do.

The client library (obstore, the Rust ``object_store``) makes the requests. This module repeats them, because
it knows the meaning of a failure, the time that is left, and whether the pool is being closed. An upload in
parts is several requests, which the library repeats by itself.
"""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from laila.contract import allocate, shown
from laila.errors import PoolClosedError
from laila.pool.s3.library import keep_for_ever, library
from laila.pool.s3.messages import failure
from laila.pool.s3.pages import EndlessError, next_page
from laila.pool.s3.replies import RETRIED, Kind, Reply, read_reply
from laila.pool.s3.settings import MIB
from laila.pool.s3.stores import FIRST_PAUSE, LONGEST_PAUSE, Stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from obstore import GetResult, ObjectMeta
    from obstore.store import ObjectStoreMethods

    from laila.pool.s3.messages import Place
    from laila.pool.s3.pages import Pages
    from laila.pool.s3.settings import S3Settings
    from laila.pool.s3.stores import Open

__all__ = ["DELETED_AT_ONCE", "Client", "Failed", "Piece"]

T = TypeVar("T")

LISTED_AT_ONCE = 1000
"""Objects in one page of a listing."""

DELETED_AT_ONCE = 1000
"""Objects that one DeleteObjects request takes."""

_PARTS_AT_ONCE = 8  # parts of one upload
_MUCH = 4 * MIB
_PIECE = 256 * 1024
_FRESH_RETRIES = 1  # until the first answer: a wrong address is more likely than an outage


class Piece(NamedTuple):
    """The bytes read of an object, or None; the size of the whole; a text that identifies the version."""

    data: memoryview | None
    size: int
    version: str | None


class Failed(Exception):
    """A failure that the caller expects: missing, exists already, too short. Never leaves the package."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.kind.value)
        self.reply = reply


def _receive(result: GetResult, nbytes: int, into: memoryview | None = None) -> memoryview:
    """Read an answer. A large one goes into writable memory that the caller alone owns.

    The library would join the pieces in memory of its own, whose pages are small. Here they are copied into
    large pages while they are in the processor's cache, and an array may keep this memory.
    """
    if into is None and nbytes < _MUCH:
        return memoryview(result.bytes())
    memory = allocate(nbytes) if into is None else into
    end = 0
    for piece in result.stream(min_chunk_size=_PIECE):
        start, end = end, min(end + len(piece), nbytes)
        memory[start:end] = memoryview(piece)[: end - start]
        if end - start < len(piece):
            break  # more than was announced
    return memory[:end]


class Client:
    """The requests of a pool. Thread-safe; each call blocks for at most its time limits.

    ``open_store`` opens the library's store for the bucket, with the given time limits and retries. ``place``
    says in errors where the bucket is. In all requests ``name`` is the object's name and ``key`` is laila's
    key, for errors.
    """

    def __init__(self, open_store: Open, place: Place, settings: S3Settings) -> None:
        self._stores = Stores(open_store, settings)
        self._place = place
        self._settings = settings
        self._most = settings.large_bytes
        self._closing = threading.Event()
        self._answered = False

    def close(self) -> None:
        """Begin no more requests; waiting repetitions fail. Connections close when they are idle."""
        self._closing.set()
        self._stores.close()

    # -- requests --------------------------------------------------------------------------------------------

    def get(self, name: str, key: str | None) -> Piece | None:
        """Read an object, or only the size and version of a large one; None if it is missing."""

        def ask(store: ObjectStoreMethods) -> Piece:
            result = store.get(name)
            meta = result.meta
            data = None if meta["size"] > self._most else _receive(result, meta["size"])
            return Piece(data, meta["size"], meta["e_tag"])

        try:
            return self._call("read", key, ask, self._stores.reading(self._most), expected=(Kind.MISSING,))
        except Failed:
            return None

    def get_part(
        self, name: str, key: str | None, start: int, stop: int, into: memoryview | None = None
    ) -> Piece | None:
        """Read the bytes ``start`` to ``stop`` of an object, fewer if it ends before; None if it is missing.

        They go to ``into``, if given. Raises :class:`Failed` if the object has no byte ``start``.
        """

        def ask(store: ObjectStoreMethods) -> Piece:
            result = store.get(name, options={"range": (start, stop)})
            meta = result.meta
            data = memoryview(result.bytes()) if into is None else _receive(result, stop - start, into)
            return Piece(data, meta["size"], meta["e_tag"])

        store = self._stores.reading(self._most)
        try:
            return self._call("read", key, ask, store, expected=(Kind.MISSING, Kind.RANGE))
        except Failed as failed:
            if failed.reply.kind is Kind.MISSING:
                return None
            raise

    def exists(self, name: str, key: str) -> bool:
        """Whether an object exists."""
        # HEAD is quicker, but its "no" has no body: it does not say what is missing, or why.
        no = tuple(kind for kind in Kind if kind not in RETRIED)
        with suppress(Failed):
            self._call("look for", key, lambda store: store.head(name), self._stores.reading(0), expected=no)
            return True
        try:
            return self.get_part(name, key, 0, 1) is not None
        except Failed:  # an empty object has no first byte
            return True

    def put(self, name: str, key: str, parts: Sequence[memoryview | bytes], *, create: bool) -> bool:
        """Write an object in one request, with ``create`` only if it is missing; return whether it did.

        False may also mean that an earlier try of this call wrote it, and its answer was lost.
        """
        body = parts[0] if len(parts) == 1 else parts

        def ask(store: ObjectStoreMethods) -> None:
            store.put(name, body, mode="create" if create else "overwrite", use_multipart=False)

        store = self._stores.sending(sum(map(len, parts)))
        try:
            self._call("write", key, ask, store, expected=(Kind.EXISTS,) if create else ())
        except Failed:
            return False
        return True

    def put_over(self, name: str, key: str, body: bytes, version: str) -> bool:
        """Replace one version of an object; return whether it did: False if another version is there.

        False may also mean that an earlier try of this call wrote it, and its answer was lost.
        """

        def ask(store: ObjectStoreMethods) -> None:
            store.put(name, body, mode={"e_tag": version}, use_multipart=False)

        no = (Kind.EXISTS, Kind.MISSING, Kind.UNSAID)
        try:
            self._call("lend", key, ask, self._stores.sending(len(body)), expected=no)
        except Failed:
            return False
        return True

    def put_in_parts(self, name: str, key: str, parts: Sequence[memoryview | bytes]) -> None:
        """Write a large object in several parallel requests, whole or not at all; clean up failures."""
        size = self._settings.part_bytes
        at_once = min(self._settings.concurrency, _PARTS_AT_ONCE)

        def ask(store: ObjectStoreMethods) -> None:
            store.put(name, parts, use_multipart=True, chunk_size=size, max_concurrency=at_once)

        self._call("write", key, ask, self._stores.trying_again(size, self._retries()), once=True)

    def delete(self, names: Sequence[str]) -> None:
        """Delete up to :data:`DELETED_AT_ONCE` objects in one request; missing objects count as deleted."""
        self._call("delete", None, lambda store: store.delete(names), self._stores.sending(0))

    def list(self, folder: str) -> Iterator[list[str]]:
        """Yield the names of all objects below ``folder``; each page is requested when it is needed."""
        pages: Pages | None = None
        asker = library()
        last: str | None = None
        sorted_so_far = True

        def ask(store: ObjectStoreMethods) -> Sequence[ObjectMeta] | None:
            nonlocal asker, pages
            if asker is not library():  # a fork happened between two pages
                keep_for_ever(pages)
                pages, asker = None, library()
            asked = pages if pages is not None else store.list(folder, offset=last, chunk_size=LISTED_AT_ONCE)
            pages = None  # a failed listing cannot go on
            page = next_page(asked, max(self._settings.deadline, self._settings.timeout))
            pages = asked
            return page

        def refuse(what: str) -> NoReturn:
            reply = Reply(Kind.OTHER, message=what)
            raise failure(self._place, "list", None, reply, 1, reply.message) from None

        while True:
            # After a failure it goes on behind the last name, if that skips nothing.
            try:
                page = self._call("list", None, ask, self._stores.reading(MIB), once=not sorted_so_far)
            except EndlessError:
                refuse("the listing gives empty pages without end")
            if page is None:
                return
            names = [item["path"] for item in page]
            if names[-1] == last or names.count(names[-1]) > 1:
                refuse("the listing gives one page again and again")
            sorted_so_far = sorted_so_far and names == sorted(names) and (last or "") < names[0]
            last = names[-1]
            yield names

    # -- trying, and trying again ----------------------------------------------------------------------------

    def _call(
        self,
        verb: str,
        key: str | None,
        ask: Callable[[ObjectStoreMethods], T],
        store: ObjectStoreMethods,
        *,
        expected: Sequence[Kind] = (),
        once: bool = False,
    ) -> T:
        """Make a request; repeat it while that may help and there is time, unless ``once``.

        Raises :class:`Failed` for the kinds that are ``expected``.
        """
        used = library()
        used.used = True
        latest = monotonic() + max(self._settings.deadline - self._settings.timeout, 0.0)
        tries = 0
        while True:
            if self._closing.is_set():
                raise PoolClosedError(
                    f"pool {shown(self._place.pool)} was closed meanwhile", pool=self._place.pool
                )
            tries += 1
            try:
                result = ask(store)
            except (used.BaseError, OSError) as error:
                reply = read_reply(error, self._place.bucket)
                text = str(error)
            else:
                self._answered = True
                return result
            self._answered = self._answered or reply.status is not None
            if reply.kind in expected:
                raise Failed(reply)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            again = reply.kind in RETRIED and tries <= self._retries() and not once
            if not again or monotonic() + pause > latest:
                raise failure(self._place, verb, key, reply, tries, text)
            self._closing.wait(pause)

    def _retries(self) -> int:
        most = self._settings.retries
        return most if self._answered else min(_FRESH_RETRIES, most)
