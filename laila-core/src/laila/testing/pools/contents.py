"""What goes in comes out: bytes, keys, batches, heads, listing, deleting."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from laila.contract import Blob, Buffer
from laila.errors import EntryNotFoundError, PoolError
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import broken, promise
from laila.testing.samples import ODD_KEYS, entry_key, intact, make_blob, stored, stored_many

if TYPE_CHECKING:
    from collections.abc import Callable

    from laila.contract import Pool

__all__ = ["Contents"]

MIB = 1024 * 1024
KEY = entry_key(1)


class Contents(PoolSuite):
    """Bytes, keys, batches, heads, listing and deleting, with nobody else at the store."""

    @pytest.mark.parametrize(
        ("size", "pieces"),
        [
            (0, 1),
            (1, 1),
            (1000, 1),
            (4096, 1),
            (65_537, 3),
            (MIB, 1),
            (4 * MIB, 1),
            (9 * MIB + 5, 4),
            (3000, 500),
        ],
        ids=str,
    )
    def test_a_blob_comes_back_byte_for_byte(self, pool: Pool, size: int, pieces: int) -> None:
        """Whatever its size, and however many buffers it has."""
        blob = make_blob(KEY, size, pieces=pieces)
        pool._write(KEY, blob)
        promise(pool._exists(KEY), f"_exists says True of what was written (a blob of {blob.nbytes} bytes)")
        promise(intact(pool, blob), f"_read gives back a blob of {blob.nbytes} bytes byte for byte")
        created = make_blob(entry_key(2), size, pieces=pieces)
        promise(pool._create(created.key, created), f"_create files a blob of {created.nbytes} bytes")
        promise(
            stored_many(pool, [created.key, KEY]) == [bytes(created), bytes(blob)],
            f"_read_many gives back blobs of {blob.nbytes} bytes byte for byte, in the order of the keys",
        )

    def test_a_key_is_any_text(self, pool: Pool) -> None:
        """Two keys that look alike are two."""
        blobs = [make_blob(key, 40, seed) for seed, key in enumerate(ODD_KEYS)]
        for blob in blobs:
            pool._write(blob.key, blob)
        for blob in blobs:
            there = pool._read(blob.key) is not None
            promise(there, f"every text of up to 512 bytes is a key; {blob.key!r} is not there")
            promise(intact(pool, blob), f"no two keys share a place; {blob.key!r} has another key's blob")
        self._check_keys(pool, set(ODD_KEYS))
        for position, key in enumerate(ODD_KEYS):
            promise(pool._delete(key) is not False, f"_delete says that {key!r} was there")
            promise(not pool._exists(key), f"{key!r} is gone after _delete")
            after = ODD_KEYS[position + 1 : position + 2]
            promise(
                all(map(pool._exists, after)), f"_delete({key!r}) deletes nothing but that key; {after} went"
            )
        self._check_keys(pool, set())

    def test_what_is_not_there(self, pool: Pool) -> None:
        """None, False, or EntryNotFoundError; and nothing appears by asking."""
        promise(pool._read(KEY) is None, "_read gives None for a key that is not there")
        promise(pool._read_head(KEY) is None, "_read_head gives None for a key that is not there")
        promise(pool._exists(KEY) is False, "_exists gives False for a key that is not there")
        promise(
            pool._delete(KEY) in {False, None}, "_delete gives False for a key that is not there, or None"
        )
        promise(
            list(pool._read_many([KEY, "x"])) == [None, None], "_read_many gives None for what is not there"
        )
        promise(pool._newest(KEY) is None, "_newest gives None where there are no evolutions")
        promise(list(pool._evolutions(KEY)) == [], "_evolutions gives nothing where there are none")
        for action, name in (
            (lambda: pool[KEY], "pool[key]"),
            (lambda: pool.__delitem__(KEY), "del pool[key]"),
        ):
            try:
                action()
            except EntryNotFoundError as error:
                promise(error.key == KEY, f"{name} names the key that is not there")
            else:
                broken(f"{name} raises EntryNotFoundError for a key that is not there")
        self._check_keys(pool, set())

    def test_a_write_replaces(self, pool: Pool) -> None:
        """By something longer, shorter, in more pieces, or in none."""
        for seed, size in enumerate([100, 70_000, 10, 5 * MIB, 0, 3000]):
            blob = make_blob(KEY, size, seed)
            pool._write(KEY, blob)
            promise(intact(pool, blob), f"_write replaces what is there; write {seed} did not")
            head = pool.read_head(KEY)
            promise(
                head is not None and head.digest == blob.digest, "_read_head is about what was written last"
            )
        self._check_keys(pool, {KEY})

    def test_what_was_read_does_not_change(self, pool: Pool) -> None:
        """Neither by a later read, nor by what becomes of the key; nor does changing it change the store."""
        for size in (500, 70_000, 4 * MIB):
            blob, other = make_blob(KEY, size), make_blob("other", size, 1)
            pool._write(KEY, blob)
            pool._write("other", other)
            held = pool.load_here([KEY])[0]
            assert isinstance(held, Blob)
            pool.load_here(["other"])
            promise(bytes(held) == bytes(blob), f"a later read changes no blob read before ({size} bytes)")
            pool._write(KEY, make_blob(KEY, size, 7))
            promise(
                bytes(held) == bytes(blob), f"a write of its key changes no blob read before ({size} bytes)"
            )
            pool._write(KEY, blob)
            held = pool.load_here([KEY])[0]
            pool._delete(KEY)
            assert isinstance(held, Blob)
            promise(
                bytes(held) == bytes(blob), f"a delete of its key changes no blob read before ({size} bytes)"
            )

    @pytest.mark.parametrize("size", [500, 70_000])
    def test_what_was_read_is_no_alias(self, pool: Pool, size: int) -> None:
        """Writing into what `_read` gave, where that can be written, changes nothing that is stored."""
        blob = make_blob(KEY, size)
        pool._write(KEY, blob)
        found = pool._read(KEY)
        for part in found if isinstance(found, (list, tuple)) else [found]:
            if part is not None and not isinstance(part, Blob):
                view = memoryview(part)  # type: ignore[arg-type]  # any buffer will do
                if not view.readonly and view.nbytes:
                    view.cast("B")[view.nbytes // 2] ^= 0xFF
        promise(intact(pool, blob), "_read gives no alias: changing it changes nothing stored")

    def test_a_long_head_is_read(self, pool: Pool) -> None:
        """Heads may be longer than any first guess."""
        for blob in (
            make_blob("tree", 9000, tree=bytes(range(256)) * 400),
            make_blob("table", 60_000, pieces=3000),
            make_blob("tiny", 0),
        ):
            pool._write(blob.key, blob)
            head = pool.read_head(blob.key)
            promise(head is not None, f"_read_head finds what is there ({blob.key})")
            assert head is not None
            promise(
                (head.key, head.digest, head.nbytes) == (blob.key, blob.digest, blob.nbytes),
                f"_read_head gives at least the whole head, also one of {len(blob.head)} bytes",
            )
        heads = pool.heads_here(["tiny", "none", "tree", "table", "tiny"])
        told = [None if head is None else getattr(head, "key", "damaged") for head in heads]
        promise(
            told == ["tiny", None, "tree", "table", "tiny"],
            f"_read_heads answers in the order of the keys; it gave {told}",
        )

    def test_batches_answer_in_order(self, pool: Pool) -> None:
        """One answer a key, in the order of the keys. A key may come twice; of two writes the last holds."""
        blobs = [make_blob(entry_key(number), 200, number) for number in range(40)]
        pool._write_many([(blob.key, blob) for blob in blobs])
        keys = [blob.key for blob in reversed(blobs)]
        asked = [*keys[:20], "none", keys[3], *keys[20:], keys[3]]
        wanted = {blob.key: bytes(blob) for blob in blobs}
        promise(
            stored_many(pool, asked) == [wanted.get(key) for key in asked],
            "_read_many gives one answer a key, in the order of the keys, None for what is not there",
        )
        first, last = make_blob("twice", 100, 1), make_blob("twice", 100, 2)
        pool._write_many([("twice", first), ("once", make_blob("once")), ("twice", last)])
        promise(
            stored(pool, "twice") == bytes(last), "of two writes of one key in a batch the last one holds"
        )
        answers = list(
            pool._create_many([(b.key, b) for b in (first, make_blob("new"), blobs[0], make_blob("new"))])
        )
        promise(
            answers in ([False, True, False, False], [False, False, False, True]),
            f"_create_many says of each whether it was filed, and files one key once; it gave {answers}",
        )
        told = list(pool._delete_many([keys[0], "none", "twice", keys[0]]))
        promise(len(told) == 4, "_delete_many gives one answer a key")
        promise(
            [
                answer in truth
                for answer, truth in zip(told[:3], ({True, None}, {False, None}, {True, None}), strict=True)
            ]
            == [True] * 3,
            f"_delete_many says of each key whether it was there, or None; it gave {told}",
        )
        promise(
            [pool._exists(key) for key in (keys[0], "twice", keys[1])] == [False, False, True],
            "_delete_many deletes its keys and nothing else",
        )

    def test_an_empty_batch_is_nothing(self, pool: Pool) -> None:
        """No keys, no answers, no error."""
        pool._write_many([])
        calls: list[Callable[[list[str]], object]] = [pool._read_many, pool._read_heads, pool._delete_many]
        for call in calls:
            promise(list(call([])) == [], f"{call.__name__} of nothing gives nothing")  # type: ignore[call-overload]
        promise(list(pool._create_many([])) == [], "_create_many of nothing gives nothing")
        self._check_keys(pool, set())

    def test_a_large_batch(self, pool: Pool) -> None:
        """A thousand entries in one call: more than one packet, page or pipeline."""
        blobs = [make_blob(entry_key(number), 300, number) for number in range(1000)]
        answers = list(pool._create_many([(blob.key, blob) for blob in blobs]))
        promise(answers == [True] * 1000, "_create_many files a thousand new keys in one call")
        keys = [blob.key for blob in blobs]
        promise(
            stored_many(pool, keys) == [bytes(blob) for blob in blobs], "_read_many reads a thousand keys"
        )
        heads = pool.heads_here(keys)
        promise(
            [getattr(head, "digest", None) for head in heads] == [blob.digest for blob in blobs],
            "_read_heads reads a thousand heads",
        )
        again = list(pool._create_many([(blob.key, blob) for blob in blobs[:600]]))
        promise(again == [False] * 600, "_create_many says False of every key that is there")
        told = list(pool._delete_many(keys[::2]))
        promise(set(told) <= {True, None}, "_delete_many says of a thousand keys that they were there")
        self._check_keys(pool, set(keys[1::2]))

    def test_listing_streams_and_may_be_left(self, pool: Pool) -> None:
        """Each key once, in the order that is promised, also while others are written and deleted."""
        keys = [entry_key(number) for number in range(1500)]
        pool._write_many([(key, make_blob(key, 10)) for key in keys])
        self._check_keys(pool, set(keys))
        some = pool._keys()
        promise(len(list(islice(some, 3))) == 3, "_keys gives an iterator that may be left at any time")
        del some
        seen: list[str] = []
        for number, key in enumerate(pool._keys()):
            seen.append(key)
            if number == 5:
                pool._delete_many(keys[1400:])
                pool._write("new", make_blob("new"))
        promise(len(seen) == len(set(seen)), "_keys gives each key once, also while the pool changes")
        promise(
            set(keys[:1400]) <= set(seen) <= {*keys, "new"},
            "_keys gives every key that was there all the time, also while the pool changes",
        )

    def test_empty_deletes_everything(self, pool: Pool) -> None:
        """And leaves a pool that works."""
        for seed in range(2):
            blobs = [make_blob(key, 200, seed) for key in (*ODD_KEYS, entry_key(1), entry_key(1, 3))]
            pool._write_many([(blob.key, blob) for blob in blobs])
            pool._write("large", make_blob("large", 5 * MIB, seed))
            pool.empty()
            self._check_keys(pool, set())
            promise(stored(pool, "large") is None, "empty() deletes everything")
            promise(pool._newest(entry_key(1)) is None, "empty() deletes evolutions")
        pool.empty()

    def test_a_blob_that_is_too_large_is_refused(self, pool: Pool) -> None:
        """Before anything of it is written, with an error of its own, and the rest of the batch is filed."""
        limit = pool.max_blob_bytes
        if limit is None:
            pytest.skip("max_blob_bytes is None: no blob is too large")
        if limit > 8 * 1024**3:
            pytest.skip(f"max_blob_bytes is {limit}: more than this test has room for")
        # The limit, and the head on top; fresh zeros take no memory until they are touched.
        large = Blob(KEY, b"\x90", (Buffer(memoryview(bytes(limit))),))
        outcomes = pool.store_here([make_blob("before"), large, make_blob("after")])
        promise(isinstance(outcomes[1], PoolError), "a blob above max_blob_bytes is refused with a PoolError")
        self._check_keys(pool, {"before", "after"})

    def _check_keys(self, pool: Pool, wanted: set[str]) -> None:
        __tracebackhide__ = True
        found = list(pool._keys())
        promise(
            set(found) == wanted and len(found) == len(wanted),
            f"_keys gives every key once: {_difference(found, wanted)}",
        )
        if pool.listing == "sorted":
            promise(
                found == sorted(found, key=str.encode), "listing is 'sorted': _keys gives them in that order"
            )


def _difference(found: list[str], wanted: set[str]) -> str:
    missing, extra = sorted(wanted - set(found)), sorted(set(found) - wanted)
    twice = sorted(key for key in set(found) if found.count(key) > 1) if len(found) < 2000 else []
    return f"missing {missing[:3]!r}, not written {extra[:3]!r}, twice {twice[:3]!r}"
