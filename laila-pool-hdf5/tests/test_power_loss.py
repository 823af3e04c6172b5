"""A disk that forgets: each unsynced sector survives a power failure or not, and so does the length.

``kill -9`` cannot show whether the syncs are in the right places, because what a dead process has written
stays in the page cache. So the pool file runs on a model of a disk that dies at a random operation and comes
back with a random part of what was not synced. That each sync matters is shown by leaving it out.
"""

from __future__ import annotations

import io
import os
import random
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from laila.contract import Blob, Buffer
from laila.errors import LailaError
from laila.pool.hdf5 import durable, journal
from laila.pool.hdf5.layout import entry_name
from laila.pool.hdf5.poolfile import PoolFile

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = int(os.environ.get("LAILA_TEST_POWER_ROUNDS", "300"))
SECTOR = 512
KEYS = [f"LAILA:ENTRY:GLOBAL_ID:00000000-0000-4000-8000-{number:012x}" for number in range(8)]

Content = dict[str, bytes]


@pytest.fixture(autouse=True)
def _growth_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the file grows in many commits, and the images are small."""
    monkeypatch.setattr(durable, "LEAD", 32 * 1024)


class ForgetfulDisk:
    """One file on a disk; ``leave_out`` names a sync that does nothing: region, record or pages."""

    def __init__(self, image: bytes = b"", leave_out: str = "") -> None:
        self._now = bytearray(image)
        self._synced = bytearray(image)
        self._pending: list[tuple[int, bytes]] = []
        self._sizes = [len(image)]
        self._leave_out = leave_out
        self._stage = "region"
        self.operations_left = 1 << 60
        self.dies_at_sync = False

    def _alive(self, *, sync: bool = False) -> bool:
        if sync or not self.dies_at_sync or self.dead:
            self.operations_left -= 1
        return self.operations_left >= 0

    @property
    def dead(self) -> bool:
        return self.operations_left < 0

    def size(self) -> int:
        return len(self._now)

    def read(self, length: int, offset: int) -> bytes:
        return bytes(self._now[offset : offset + length])

    def own(self, length: int, offset: int) -> memoryview:
        return memoryview(bytearray(self.read(length, offset)))

    def view(self, length: int, offset: int) -> memoryview:
        return memoryview(self.read(length, offset))

    def write(self, data: object, offset: int) -> None:
        raw = bytes(data)  # type: ignore[call-overload]
        self._put(self._now, raw, offset)
        if raw[-journal.FOOTER_BYTES :][: len(journal.MAGIC)] == journal.MAGIC:
            self._stage = "record"
        if self._alive():
            self._pending.append((offset, raw))
            self._sizes.append(len(self._now))

    @staticmethod
    def _put(image: bytearray, raw: bytes, offset: int) -> None:
        if len(image) < offset:
            image.extend(bytes(offset - len(image)))
        image[offset : offset + len(raw)] = raw

    def truncate(self, size: int) -> None:
        del self._now[size:]
        self._now.extend(bytes(size - len(self._now)))
        if self._alive():
            self._sizes.append(size)

    def sync(self) -> None:
        stage, self._stage = (
            self._stage,
            {"region": "region", "record": "pages", "pages": "region"}[self._stage],
        )
        if self._alive(sync=True) and stage != self._leave_out:
            self._synced[:] = self._now
            self._pending.clear()
            self._sizes = [len(self._now)]

    def after_power_loss(self, chance: random.Random) -> bytes:
        """What the disk holds when the power is back."""
        image = bytearray(self._synced)
        kept = chance.choice((0.0, 0.5, 0.9, 0.98, 1.0))
        for offset, raw in self._pending:
            start = 0
            while start < len(raw):
                stop = min(len(raw), start + SECTOR - (offset + start) % SECTOR)
                if chance.random() < kept:
                    self._put(image, raw[start:stop], offset + start)
                start = stop
        size = self._sizes[-1] if chance.random() < 0.7 else chance.choice(self._sizes)
        del image[size:]
        image.extend(bytes(size - len(image)))
        return bytes(image)


def some_blob(key: str, chance: random.Random) -> Blob:
    if chance.random() < 0.6:
        return Blob(key, b"\xc5\x10\x00" + chance.randbytes(chance.randrange(1, 4000)))
    sizes = [chance.randrange(1, 9000) for _ in range(chance.choice((1, 1, 3)))] + [2100]
    data = [np.frombuffer(chance.randbytes(8 * size), "<f8") for size in sizes]
    return Blob(key, b"\x90", tuple(Buffer(a.data.cast("B"), "<f8", a.shape) for a in data))


def change(file: PoolFile, content: Content, chance: random.Random) -> Content:
    """Make one transaction; return what the file should hold after it."""
    after = dict(content)
    transaction = file.begin()
    kind = chance.random()
    if kind < 0.15 and after:
        for key in chance.sample(sorted(after), min(2, len(after))):
            transaction.delete(key)
            del after[key]
    elif kind < 0.18:
        transaction.clear()
        after.clear()
    else:
        for key in chance.sample(KEYS, chance.choice((1, 1, 4))):
            blob = some_blob(key, chance)
            transaction.put(key, blob)
            after[key] = bytes(blob)
    transaction.commit()
    return after


def contents(file: PoolFile) -> Content:
    found = {}
    for key, entry in file.index.entries.items():
        parts = file.read(entry)
        found[key] = bytes(
            Blob.from_bytes(parts, key=key) if isinstance(parts, bytes) else Blob.from_parts(parts, key=key)
        )
    return found


def check_with_h5py(image: bytes, file: PoolFile) -> None:
    """Plain HDF5 reads the same arrays, and sees none that were deleted."""
    with h5py.File(io.BytesIO(image), "r") as opened:
        entries = opened["entries"]
        large = {key: entry for key, entry in file.index.entries.items() if len(entry) == 4}
        assert {entry_name(key).decode() for key in large} == set(entries)
        for key, entry in large.items():
            node = entries[entry_name(key).decode()]
            arrays = (
                [node[()]] if isinstance(node, h5py.Dataset) else [node[str(n)][()] for n in range(len(node))]
            )
            parts = file.read(entry)
            assert [a.tobytes() for a in arrays] == [bytes(part) for part in parts[1:]]


class Model:
    """A pool file on a forgetful disk, over many power failures."""

    def __init__(self, seed: int, leave_out: str) -> None:
        self._chance = random.Random(seed)
        self._leave_out = leave_out
        self._image = b""
        self._content: Content = {}

    def start_anew(self) -> None:
        disk = ForgetfulDisk()
        _, transaction = PoolFile.create(disk, "model")
        transaction.commit()
        self._image = disk.read(disk.size(), 0)
        self._content = {}

    def round(self) -> None:
        """Write until the power fails, and look at what is there when it is back."""
        chance = self._chance
        disk = ForgetfulDisk(self._image, self._leave_out)
        file = PoolFile(disk, "model")
        if chance.random() < 0.3:
            # The power fails again while the file is being recovered.
            disk.operations_left = chance.randrange(6)
            file.recover()
            disk = ForgetfulDisk(disk.after_power_loss(chance), self._leave_out)
            file = PoolFile(disk, "model")
        file.recover()
        file.refresh()
        disk.dies_at_sync = chance.random() < 0.5
        disk.operations_left = chance.randrange(12 if disk.dies_at_sync else 90)
        before = after = self._content
        while not disk.dead:
            before = after
            after = change(file, before, chance)
        self._image = disk.after_power_loss(chance)
        back = ForgetfulDisk(self._image)
        file = PoolFile(back, "model")
        file.recover()
        file.refresh()
        self._content = contents(file)
        assert self._content in (before, after)
        check_with_h5py(back.read(back.size(), 0), file)


def survives(rounds: int, seed: int, leave_out: str = "") -> bool:
    """Whether a pool file comes back right from ``rounds`` power failures; raises if no sync was left out."""
    model = Model(seed, leave_out)
    for number in range(rounds):
        if number % 20 == 0:
            model.start_anew()
        try:
            model.round()
        except (AssertionError, LailaError, OSError, KeyError, ValueError, RuntimeError):
            if not leave_out:
                raise
            return False
    return True


@pytest.mark.parametrize("rounds", [100, pytest.param(ROUNDS, marks=pytest.mark.long)])
def test_nothing_is_lost(rounds: int) -> None:
    assert survives(rounds, seed=1)


def test_nothing_is_lost_when_new_data_is_synced_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "REGION_CHECKSUM_LIMIT", 0)
    assert survives(ROUNDS // 4, seed=2)


@pytest.mark.parametrize("sync", ["region", "record", "pages"])
def test_every_sync_is_needed(sync: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "REGION_CHECKSUM_LIMIT", 0)
    assert not all(survives(75, seed, leave_out=sync) for seed in range(5))


def test_the_checksum_of_new_data_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked: Callable[[bytes], bytes] = lambda data: journal.NO_CHECKSUM  # noqa: E731
    monkeypatch.setattr(durable, "xxh3_128_digest", unchecked)
    assert not all(survives(75, seed, leave_out="the checksum") for seed in range(10))
