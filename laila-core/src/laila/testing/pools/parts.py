"""What is read in part: ranges of bytes, pieces with their checksums, and views of arrays."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from laila.central.packing import packs_of
from laila.codec import encode
from laila.contract import Blob, Buffer, Pool
from laila.entry.packs import Wanted
from laila.errors import CorruptEntryError, InvalidValueError
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import broken, promise
from laila.testing.samples import entry_key, make_blob
from laila.tiering.packed import PackReader
from laila.views.sources import open_tier
from laila.views.view import view_of

__all__ = ["Parts"]

MIB = 1024 * 1024
KEY = entry_key(1)


class Parts(PoolSuite):
    """Ranges of what is stored, each piece verified by itself, with nobody else at the store."""

    @pytest.mark.parametrize(("size", "pieces"), [(0, 1), (1000, 1), (200_000, 3), (5 * MIB + 3, 2)], ids=str)
    def test_ranges_are_those_of_the_whole(self, pool: Pool, size: int, pieces: int) -> None:
        """Wherever they begin and end: in the head, between buffers, at the end."""
        promise(pool._read_ranges(KEY, [(0, 1)]) is None, "_read_ranges gives None for what is not there")
        blob = make_blob(KEY, size, pieces=pieces)
        raw = bytes(blob)
        pool._write(KEY, blob)
        chance = Random(size)
        edges = [0, len(blob.head), len(raw), *(chance.randrange(len(raw) + 1) for _ in range(7))]
        places = sorted(edges[: len(edges) // 2 * 2])
        apart = list(zip(places[::2], places[1::2], strict=True))
        touching = list(pairwise(places))
        for ranges in ([(0, len(raw))], [(0, 1)], [(len(raw) - 1, len(raw))], apart, touching, []):
            found = pool._read_ranges(KEY, ranges)
            promise(
                found is not None and list(map(bytes, found)) == [raw[low:high] for low, high in ranges],
                f"_read_ranges gives the bytes of each range, in their order; of {ranges} it did not",
            )

    def test_ranges_beyond_the_end_are_refused(self, pool: Pool) -> None:
        """The backend gives what is there, which is too little."""
        for size in (300, 3 * MIB):
            blob = make_blob(KEY, size)
            pool._write(KEY, blob)
            end = blob.nbytes
            for ranges in ([(0, end + 1)], [(0, 10), (end - 5, end + 5)], [(end + 7, end + 9)]):
                try:
                    pool.ranges_here(KEY, ranges)
                except CorruptEntryError:
                    continue
                broken(f"a range that ends beyond the end is refused; {ranges} of {end} bytes was not")
            short = pool.ranges_here(KEY, [(end - 5, end + 5)], short=True)
            promise(
                short is not None and bytes(short[0]) == bytes(blob)[-5:],
                "_read_ranges gives fewer bytes of a range, where the blob ends before its end",
            )
            for wrong in ([(5, 3)], [(-1, 2)], [(4, 6), (5, 7)]):
                with pytest.raises(InvalidValueError):
                    pool.ranges_here(KEY, wrong)

    def test_ranges_are_of_what_was_written_last(self, pool: Pool) -> None:
        """By something longer, or shorter."""
        for seed, size in enumerate([3 * MIB, 100, 2 * MIB + 1]):
            blob = make_blob(KEY, size, seed)
            pool._write(KEY, blob)
            found = pool._read_ranges(KEY, [(0, blob.nbytes)])
            promise(
                found is not None and bytes(found[0]) == bytes(blob),
                f"_read_ranges is about what was written last; after write {seed} it was not",
            )

    def test_damage_is_met_by_who_reads_that_piece(self, pool: Pool) -> None:
        """By nobody else."""
        content = Random(1).randbytes(3 * MIB + 100)
        sound = Buffer(memoryview(content))
        changed = bytearray(content)
        changed[MIB + 5] ^= 1
        damaged = Buffer(memoryview(bytes(changed)), checksum=sound.checksum, pieces=sound.pieces)
        damaged.checked = False
        blob = Blob(KEY, b"\xc1\x93\x13\x00\xc0", (damaged,), None, (1.5, "bytes", 1, "rows", None))
        pool._write(KEY, Blob.from_bytes(bytes(blob), verify=False) if pool.blocking else blob)
        opened = open_tier(pool, KEY)
        assert opened is not None
        if not pool.blocking:
            return  # what is in this process's memory is one object, and verified as one
        for low, high in ((0, 10), (MIB - 1, MIB), (2 * MIB, 2 * MIB + 1), (3 * MIB, 3 * MIB + 100)):
            found = opened.window(0, [(low, high)])[low:high]
            promise(
                bytes(found) == content[low:high], f"bytes {low} to {high} are read beside a damaged piece"
            )
        for low, high in ((MIB, MIB + 1), (2 * MIB - 1, 2 * MIB), (0, 3 * MIB)):
            try:
                opened.window(0, [(low, high)])
            except CorruptEntryError:
                continue
            broken(f"damage is a CorruptEntryError for who reads its piece; bytes {low} to {high} were read")

    def test_ranges_of_many_keys_are_those_of_each(self, pool: Pool) -> None:
        """In the order of the keys, which are asked for together; a key that is not there is None."""
        keys = [entry_key(i) for i in range(4)]
        blobs = {key: make_blob(key, 1000 * (i + 1)) for i, key in enumerate(keys[:3])}
        for key, blob in blobs.items():
            pool._write(key, blob)
        asked = [(keys[i], [(i, 10 + i), (100, 300)]) for i in (2, 3, 0, 1)]
        found = pool._read_ranges_many(asked)
        promise(len(found) == len(asked), "_read_ranges_many gives one answer for each key")
        for (key, ranges), answer in zip(asked, found, strict=True):
            raw = bytes(blobs[key]) if key in blobs else None
            wanted = None if raw is None else [raw[low:high] for low, high in ranges]
            given = None if answer is None else list(map(bytes, answer))
            promise(
                given == wanted, "_read_ranges_many answers in the order of the keys, as _read_ranges does"
            )
        promise(list(pool._read_ranges_many([])) == [], "_read_ranges_many of no keys gives no answers")

    def test_packed_leaves_are_found_by_their_ranges(self, pool: Pool) -> None:
        """Damage in a pack fails the leaf that it hits."""
        leaves = [(entry_key(i), bytes(encode("x" * i, key=entry_key(i)))) for i in range(2, 40)]
        made = list(packs_of(KEY, leaves, 4096))
        places = {leaf: place for _, found in made for leaf, place in found.items()}
        for blob, _ in made:
            raw = bytearray(bytes(blob))
            hit = places[entry_key(9)]
            if blob.key == hit.pack:
                raw[hit.start + hit.offset + hit.length - 2] ^= 1
            pool._write(blob.key, Blob.from_bytes(bytes(raw), verify=False))
        wanted = [Wanted(leaf, places[leaf], None) for leaf, _ in reversed(leaves)]
        found = PackReader(pool).read(wanted)
        for one, outcome in zip(wanted, found, strict=True):
            if one.leaf == entry_key(9):
                damaged = isinstance(outcome, CorruptEntryError)
                promise(damaged, "a damaged leaf of a pack is a CorruptEntryError")
            else:
                whole = isinstance(outcome, Blob) and bytes(outcome) == dict(leaves)[one.leaf]
                promise(whole, "a leaf of a pack is read beside a damaged one")
        gone = Wanted(KEY, places[entry_key(9)]._replace(pack=entry_key(99)), None)
        promise(PackReader(pool).read([gone]) == [None], "a leaf of a pack that is not there is None")

    def test_a_view_reads_parts(self, pool: Pool) -> None:
        """A view of a dict reads parts of an array and of bytes."""
        numpy = pytest.importorskip("numpy")
        array = numpy.arange(700_000, dtype="<i4").reshape(700, 1000)
        across = numpy.asfortranarray(array)
        blob = encode({"a": array, "f": across, "b": bytes(range(256)) * 400, "c": [1, "x"]}, key=KEY)
        pool._write(KEY, blob)
        opened = open_tier(pool, KEY)
        promise(opened is not None, "what was written can be opened")
        assert opened is not None
        view = view_of(opened)
        promise(view["a"].shape == (700, 1000) and view["c"].data == [1, "x"], "a view says what it has")
        for index in (numpy.s_[3:9, ::7], numpy.s_[[5, 699, 0]], numpy.s_[-1, -1], numpy.s_[::-100]):
            same = numpy.array_equal(view["a"][index], array[index])
            same = same and numpy.array_equal(view["f"][index], array[index])
            promise(same, f"a view reads what numpy gives for the index; of {index} it did not")
        promise(view["b"][255:258] == b"\xff\0\1", "a view reads a slice of bytes")
        promise(numpy.array_equal(view["a"].data, array), "a view reads all of a part")
