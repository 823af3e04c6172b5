"""Creating what is not there: once among any number who try, and the evolutions that rely on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from laila.testing import child
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import PATIENCE, in_threads, promise
from laila.testing.samples import entry_key, make_blob, stored, stored_many

if TYPE_CHECKING:
    from laila.contract import Pool

__all__ = ["Creation"]

KEY = entry_key(1)
STEM = entry_key(2)
NUMBERS = [0, 1, 2, 9, 10, 11, 99, 100, 2**31, 2**53 + 1, 2**64, 10**30]
"""Evolutions that sort otherwise as text, as floats or in 64 bits."""
LOOKALIKES = [
    f"{STEM}-007",
    f"{STEM}-x",
    f"{STEM}--1",
    f"{STEM}-1-5",
    f"x{STEM}-77",
    f"{STEM}x-78",
    f"{STEM}-",
]
"""Keys that are no evolution of ``STEM``."""


class Creation(PoolSuite):
    """`_create`, and `_newest` and `_evolutions`."""

    @pytest.mark.parametrize("size", [100, 70_000, 9 * 1024 * 1024])
    def test_create_files_what_is_not_there(self, pool: Pool, size: int) -> None:
        """And leaves what is."""
        first, second = make_blob(KEY, size, 1), make_blob(KEY, size, 2)
        promise(pool._create(KEY, first) is True, "_create says True where the key was not there")
        promise(pool._create(KEY, second) is False, "_create says False where the key is there")
        promise(stored(pool, KEY) == bytes(first), "_create leaves what is there as it is")
        promise(pool._create(KEY, first) is False, "_create says False where the very same blob is there")
        pool._delete(KEY)
        promise(pool._create(KEY, second) is True, "_create files a key again that was deleted")
        promise(stored(pool, KEY) == bytes(second), "_create files what it was given")
        pool._write(KEY, first)
        promise(pool._create(KEY, second) is False, "_create sees what _write has filed")

    def test_one_of_many_threads_creates(self, pool: Pool) -> None:
        """If several threads create one key, exactly one gets True, and its blob is stored."""
        racers, keys = 12, [entry_key(number) for number in range(15)]

        def race(seed: int) -> list[bool]:
            return [
                bool(pool._create(key, make_blob(key, 3000, seed)))
                for key in (keys if seed % 2 else keys[::-1])
            ]

        told = in_threads([lambda seed=seed: race(seed) for seed in range(racers)], "_create ends")  # type: ignore[misc]
        told = [answers if seed % 2 else answers[::-1] for seed, answers in enumerate(told)]
        _check_winners(pool, keys, told, "threads of one process")

    def test_one_of_many_threads_creates_in_batches(self, pool: Pool) -> None:
        """If several threads create keys with `_create_many`, exactly one gets True for each key."""
        racers, keys = 8, [entry_key(number) for number in range(60)]

        def race(seed: int) -> list[bool]:
            return list(map(bool, pool._create_many([(key, make_blob(key, 300, seed)) for key in keys])))

        told = in_threads([lambda seed=seed: race(seed) for seed in range(racers)], "_create_many ends")  # type: ignore[misc]
        _check_winners(pool, keys, told, "threads of one process")

    def test_one_of_many_processes_creates(self, shared: Pool) -> None:
        """Processes that race for a key keep these rules, where `creation` promises it."""
        if shared.creation == "process":
            pytest.skip("creation is 'process': among processes nothing is promised")
        keys = [entry_key(number) for number in range(40)]
        told = child.race(shared, keys, racers=3)
        _check_winners(shared, keys, told, f"processes (creation is {shared.creation!r})")

    # -- several in one commit -----------------------------------------------------------------------------

    @pytest.mark.parametrize("sizes", [(100, 100, 100), (70_000, 100, 3000), (100, 70_000, 1_000_000)])
    def test_together_files_all_or_nothing(self, together: Pool, sizes: tuple[int, ...]) -> None:
        """`_create_together` files what is all new; where one is there it leaves everything as it is."""
        pool, keys = together, [entry_key(number) for number in range(3)]
        blobs = [make_blob(key, size) for key, size in zip(keys, sizes, strict=True)]
        items = [(blob.key, blob) for blob in blobs]
        promise(pool._create_together(items) is True, "_create_together says True where all are new")
        promise(stored_many(pool, keys) == list(map(bytes, blobs)), "_create_together files all of them")
        others = [(key, make_blob(key, 200, 1)) for key in keys]
        for there in range(3):
            for place in range(3):
                if place != there:
                    pool._delete(keys[place])
            promise(
                pool._create_together(others) is False, "_create_together says False where one key is there"
            )
            wanted = [bytes(blob) if place == there else None for place, blob in enumerate(blobs)]
            promise(
                stored_many(pool, keys) == wanted,
                "_create_together files nothing, and changes nothing, where one key is there",
            )
            promise(pool._create_many(items).count(True) == 2, "what it did not file can be created")
        pool._empty()
        promise(
            pool._create_together([*items, others[0]]) is False,
            "_create_together says False where one key comes twice",
        )
        promise(not list(pool._keys()), "_create_together files nothing where one key comes twice")
        promise(pool._create_together(items) is True, "_create_together files what was deleted")

    def test_one_of_many_threads_creates_together(self, together: Pool) -> None:
        """If several threads try with one common key, one stores all its blobs, and the others store nothing.

        Nobody sees one of them without those before it.
        """
        racers, keys = 6, [entry_key(number) for number in range(12)]

        def race(seed: int) -> list[bool]:
            tries = [[(blob.key, blob) for blob in child.companions(key, seed)] for key in keys]
            return [bool(together._create_together(items)) for items in tries]

        def watch() -> list[bool]:
            end = time.monotonic() + PATIENCE
            for key in keys:
                _, first, last = (blob.key for blob in child.companions(key, 0))
                while not together._exists(last) and time.monotonic() < end:
                    pass  # as soon as it is there, the one before it is
                promise(together._exists(first), "nobody sees one of _create_together without those before")
            return []

        racing = [lambda seed=seed: race(seed) for seed in range(racers)]
        *told, _ = in_threads([*racing, watch], "_create_together ends")
        _check_one_filed_all(together, keys, told, "threads of one process")

    def test_one_of_many_processes_creates_together(self, together: Pool, shared: Pool) -> None:
        """Processes that race for a key keep these rules, where `creation` promises it."""
        if shared.creation == "process":
            pytest.skip("creation is 'process': among processes nothing is promised")
        keys = [entry_key(number) for number in range(20)]
        told = child.race(together, keys, racers=3, together=True)
        _check_one_filed_all(together, keys, told, f"processes (creation is {shared.creation!r})")

    # -- evolutions --------------------------------------------------------------------------------------

    def test_evolutions_are_found(self, pool: Pool) -> None:
        """By number, however large; what only looks alike does not count."""
        others = [STEM, *LOOKALIKES, entry_key(3, 5), f"{entry_key(2)[:-1]}-3"]
        pool._write_many([(key, make_blob(key)) for key in others])
        promise(pool._newest(STEM) is None, f"_newest tells no evolution from {LOOKALIKES}")
        for number in NUMBERS[3:6] + NUMBERS[:3]:
            pool._create(f"{STEM}-{number}", make_blob(f"{STEM}-{number}"))
        rest = [f"{STEM}-{number}" for number in NUMBERS[6:]]
        pool._create_many([(key, make_blob(key)) for key in rest[:3]])
        pool._write_many([(key, make_blob(key)) for key in rest[3:5]])
        for key in rest[5:]:
            pool._write(key, make_blob(key))
        self._check_evolutions(pool, NUMBERS)
        for left in range(len(NUMBERS) - 1, len(NUMBERS) - len(rest) - 1, -1):
            if left % 2:
                pool._delete(rest.pop())
            else:
                pool._delete_many([rest.pop()])
            self._check_evolutions(pool, NUMBERS[:left])
        promise(
            set(others) <= set(pool._keys()),
            "deleting an evolution deletes neither others nor what looks alike",
        )

    def test_deleted_evolutions_may_come_back(self, pool: Pool) -> None:
        """The index is in step with what is there, whichever way it came and went."""
        key = f"{STEM}-4"
        for turn in range(3):
            pool._create(key, make_blob(key))
            pool._create(key, make_blob(key, seed=1))
            pool._write(key, make_blob(key, seed=2))
            self._check_evolutions(pool, [4])
            pool._delete(key)
            pool._delete(key)
            self._check_evolutions(pool, [])
            pool._write(key, make_blob(key))
            self._check_evolutions(pool, [4])
            if turn == 1:
                pool._empty()
            else:
                pool._delete_many([key, key])
            self._check_evolutions(pool, [])

    def test_the_index_is_right_under_threads(self, pool: Pool) -> None:
        """Writers and deleters of one stem at a time leave an index of what is there."""

        def work(worker: int) -> None:
            for turn in range(12):
                key = f"{STEM}-{turn}"
                if (worker + turn) % 3:
                    pool._create(key, make_blob(key, 50, worker))
                else:
                    pool._delete(key)

        in_threads([lambda worker=worker: work(worker) for worker in range(8)], "writers and deleters end")  # type: ignore[misc]
        there = [number for number in range(12) if pool._exists(f"{STEM}-{number}")]
        self._check_evolutions(pool, there)

    def _check_evolutions(self, pool: Pool, numbers: list[int]) -> None:
        __tracebackhide__ = True
        found = list(pool._evolutions(STEM))
        promise(found == numbers, f"_evolutions gives {numbers}, ascending; it gave {found}")
        newest = pool._newest(STEM)
        wanted = f"{STEM}-{numbers[-1]}" if numbers else None
        promise(newest == wanted, f"_newest gives {wanted}, the greatest number; it gave {newest}")
        promise(list(pool.histories_here([STEM, "none"])) == [numbers, []], "histories are told per stem")


def _check_winners(pool: Pool, keys: list[str], told: list[list[bool]], among: str) -> None:
    __tracebackhide__ = True
    found = stored_many(pool, keys)
    for place, key in enumerate(keys):
        winners = [seed for seed, answers in enumerate(told) if answers[place]]
        promise(
            len(winners) == 1,
            f"of several {among} that create one key exactly one is told True; {len(winners)} were, {key}",
        )
        blobs = {bytes(make_blob(key, size, winners[0])) for size in (300, 3000)}
        promise(found[place] in blobs, f"what is there is the blob of the one who was told True ({key})")


def _check_one_filed_all(pool: Pool, keys: list[str], told: list[list[bool]], among: str) -> None:
    __tracebackhide__ = True
    for place, key in enumerate(keys):
        winners = [seed for seed, answers in enumerate(told) if answers[place]]
        promise(
            len(winners) == 1,
            f"of several {among} that create one key together with others exactly one is told True; "
            f"{len(winners)} were, {key}",
        )
        for seed in range(len(told)):
            own, *common = child.companions(key, seed)
            found = stored(pool, own.key)
            promise(
                found == (bytes(own) if seed == winners[0] else None),
                f"who is told True filed all of its own, the others nothing ({own.key})",
            )
            if seed == winners[0]:
                promise(
                    stored_many(pool, [blob.key for blob in common]) == list(map(bytes, common)),
                    f"what is there is what the one filed who was told True ({key})",
                )
