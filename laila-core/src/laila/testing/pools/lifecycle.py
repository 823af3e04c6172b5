"""Opening and closing: what stays, what is given back, and what a closed pool says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from laila.errors import PoolClosedError
from laila.testing import child
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import Leaks, broken, in_threads, promise
from laila.testing.samples import entry_key, make_blob, stored, stored_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import Pool

__all__ = ["Lifecycle"]


class Lifecycle(PoolSuite):
    """Close, open again, end."""

    def test_what_is_stored_stays(self, durable: Pool, opened: Callable[..., Pool]) -> None:
        """Closed and opened again: the same keys, blobs and evolutions."""
        blobs = [
            make_blob(entry_key(number), size) for number, size in enumerate([0, 700, 70_000, 5_000_000])
        ]
        durable._write_many([(blob.key, blob) for blob in blobs])
        durable._create(entry_key(9, 12), make_blob(entry_key(9, 12)))
        durable._write("gone", make_blob("gone"))
        durable._delete("gone")
        durable.close()
        again = opened()
        keys = [blob.key for blob in blobs]
        promise(
            stored_many(again, keys) == list(map(bytes, blobs)),
            "what is stored is there when it is opened again",
        )
        promise(set(again._keys()) == {*keys, entry_key(9, 12)}, "opened again it has the keys that it had")
        promise(
            again._newest(entry_key(9)) == entry_key(9, 12),
            "opened again it finds the evolutions that it had",
        )

    def test_a_url_opens_it(self, pool: Pool, url: str, closing: Callable[[Pool], Pool]) -> None:
        """``from_url`` gives a pool of this class on the same store, and passes options on."""
        named = closing(type(pool).from_url(url, nickname="by url"))
        promise(type(named) is type(pool), "from_url returns a pool of the class that it is called on")
        promise(named.nickname == "by url", "from_url passes its keyword arguments on to the constructor")
        blob = make_blob(entry_key(1), 700)
        named._write(blob.key, blob)
        promise(stored(named, blob.key) == bytes(blob), "a pool that from_url opens stores")
        if pool.durability != "none" and pool.writers != "process":
            promise(stored(pool, blob.key) == bytes(blob), "the URL opens the store that open_pool opens")

    def test_a_closed_pool_says_so(self, pool: Pool) -> None:
        """Every use raises PoolClosedError; closing again does nothing, from any thread."""
        pool._write(entry_key(1), make_blob(entry_key(1)))
        in_threads([pool.close] * 4, "close() ends, from several threads at once")
        promise(pool.closed, "close() closes")
        uses: dict[str, Callable[[], object]] = {
            "load": lambda: pool.load([entry_key(1)]),
            "store": lambda: pool.store([make_blob(entry_key(1))]),
            "delete": lambda: pool.delete([entry_key(1)]),
            "pool[key]": lambda: pool[entry_key(1)],
            "exists": lambda: pool.exists(entry_key(1)),
            "keys": lambda: list(pool.keys()),
            "empty": pool.empty,
            "newest": lambda: pool.newest([entry_key(1)]),
            "read_head": lambda: pool.read_head(entry_key(1)),
        }
        for name, use in uses.items():
            try:
                use()
            except PoolClosedError:
                continue
            broken(f"{name} of a closed pool raises PoolClosedError")
        repr(pool)

    def test_closing_gives_everything_back(self, opened: Callable[..., Pool]) -> None:
        """Threads, files, sockets and processes, however often it is opened."""

        def use() -> None:
            pool = opened()
            blobs = [make_blob(entry_key(number), 20_000) for number in range(40)]
            pool._create_many([(blob.key, blob) for blob in blobs])
            pool._read_many([blob.key for blob in blobs])
            in_threads([lambda: pool._read(entry_key(3))] * 4, "reading from several threads ends")
            pool._delete_many([blob.key for blob in blobs])
            pool.close()

        use()  # what a library starts once for the whole process is no leak
        before = Leaks()
        for _ in range(4):
            use()
        before.check("a closed pool", files=3)

    def test_a_program_that_leaves_it_open_ends(self, pool: Pool) -> None:
        """The interpreter ends by itself, with exit code 0, and what was written is there."""
        if pool.durability != "none" and pool.writers == "process":
            pool.close()
        child.leave_open(pool, entry_key(1))
        if pool.durability != "none" and not pool.closed:
            promise(
                stored(pool, entry_key(1)) == bytes(make_blob(entry_key(1), 70_000)),
                "what a program wrote that left its pool open is there",
            )

    def test_closing_waits_for_nobody_for_ever(self, pool: Pool) -> None:
        """Readers at work while it is closed end: with what they read, or with PoolClosedError."""
        pool._write(entry_key(1), make_blob(entry_key(1), 200_000))
        closing = threading.Event()

        def read() -> None:
            for turn in range(200):
                try:
                    found = pool.load([entry_key(1)])[0]
                except PoolClosedError:
                    return
                except Exception as error:  # noqa: BLE001 - whatever it is, it breaks the promise
                    promise(closing.is_set(), f"a read works while the pool is open; it raised {error!r}")
                    from laila.errors import LailaError

                    promise(
                        isinstance(error, LailaError),
                        f"a read of a closing pool raises LailaError: {error!r}",
                    )
                    return
                promise(
                    found is not None, "a read while the pool is closed never says that the key is not there"
                )
                if turn == 20:
                    closing.set()

        def close() -> None:
            closing.wait(20.0)
            pool.close()

        in_threads([read, read, read, close], "close() and the reads beside it end")

    @pytest.mark.parametrize("count", [3])
    def test_names_and_ids(self, opened: Callable[..., Pool], count: int) -> None:
        """A nickname gives the pool its id; without one each has its own."""
        named = opened(nickname="conformance")
        promise(named.nickname == "conformance", "nickname= names the pool")
        promise(
            "conformance" in named.label and "conformance" in repr(named), "messages name it by its nickname"
        )
        if named.durability != "none" and named.writers == "process":
            named.close()
            return
        again = opened(nickname="conformance")
        promise(again.global_id == named.global_id, "pools of one nickname have one id")
