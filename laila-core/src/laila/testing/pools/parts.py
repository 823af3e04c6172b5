"""What is read in part: ranges of bytes, pieces with their checksums, and views of arrays."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from laila.codec import encode
from laila.contract import Blob, Buffer, Pool
from laila.errors import CorruptEntryError, InvalidValueError
from laila.testing.pools.base import PoolSuite
from laila.testing.promises import broken, promise
from laila.testing.samples import entry_key, make_blob
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
