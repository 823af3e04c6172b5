"""Random operations against a plain dict, with reopening, compaction and a second pool on the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from laila.component.backend import checked_blob
from laila.contract import Blob, Buffer
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.layout import entry_name
from laila.pool.hdf5.poolfile import BYTES_PACK_LIMIT

keys = st.sampled_from(["a", "b-1", "b-2", "b-10", "c/d", "ü", ".", "x\0"])
sizes = st.sampled_from([0, 1, 500, 17_000, 130_000, 132_000, 200_000])
fills = st.integers(0, 255)


def blob_of(key: str, size: int, fill: int) -> Blob:
    return Blob(key, bytes([fill % 128]), (Buffer(memoryview(bytes([fill]) * size)),))


class PoolMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "p.h5"
        self.pool = HDF5Pool(self.path, durable="process")
        self.other = HDF5Pool(self.path, durable="process")
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.pool.close()
            self.other.close()
            large = {entry_name(k).decode() for k, raw in self.model.items() if len(raw) > BYTES_PACK_LIMIT}
            with h5py.File(self.path, "r") as opened:
                assert set(opened["entries"]) == large
            self.directory.cleanup()

    @rule(key=keys, size=sizes, fill=fills)
    def write(self, key: str, size: int, fill: int) -> None:
        blob = blob_of(key, size, fill)
        self.pool._write(key, blob)
        self.model[key] = bytes(blob)

    @rule(items=st.lists(st.tuples(keys, sizes, fills), max_size=6))
    def write_many(self, items: list[tuple[str, int, int]]) -> None:
        blobs = [blob_of(*item) for item in items]
        self.pool._write_many([(blob.key, blob) for blob in blobs])
        self.model.update({blob.key: bytes(blob) for blob in blobs})

    @rule(key=keys, size=sizes, fill=fills)
    def create(self, key: str, size: int, fill: int) -> None:
        blob = blob_of(key, size, fill)
        assert self.pool._create(key, blob) == (key not in self.model)
        self.model.setdefault(key, bytes(blob))

    @rule(wanted=st.lists(keys, max_size=4))
    def delete(self, wanted: list[str]) -> None:
        expected = [self.model.pop(key, None) is not None for key in wanted]
        assert self.pool._delete_many(wanted) == expected

    @rule()
    def empty(self) -> None:
        self.pool._empty()
        self.model.clear()

    @rule()
    def compact(self) -> None:
        self.pool.compact()

    @rule()
    def reopen(self) -> None:
        self.pool.close()
        self.pool = HDF5Pool(self.path, durable="process")

    @rule()
    def swap(self) -> None:
        self.pool, self.other = self.other, self.pool

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "pool"):
            return
        for pool in (self.pool, self.other):
            assert set(pool._keys()) == set(self.model)
            assert pool._evolutions("b") == [n for n in (1, 2, 10) if f"b-{n}" in self.model]
            found = pool._read_many(list(self.model))
            for (key, raw), parts in zip(self.model.items(), found, strict=True):
                assert parts is not None
                assert bytes(checked_blob(key, parts)) == raw
                assert pool._exists(key)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
