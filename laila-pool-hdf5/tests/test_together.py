"""A manifest and what is in it are one commit of the file."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np
import pytest

import laila
from laila.contract import Blob
from laila.errors import ImmutableEntryError, ManifestError, PoolError
from laila.pool.hdf5 import HDF5Pool
from laila.pool.hdf5.poolfile import Transaction
from laila.pool.hdf5.storage import FileStorage
from laila.testing.promises import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator


class Counted:
    """How often any pool of this process commits and syncs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = self.syncs = 0
        commit, sync = Transaction.commit, FileStorage.sync

        def counted_commit(transaction: Transaction) -> None:
            self.commits += 1
            commit(transaction)

        def counted_sync(storage: FileStorage) -> None:
            self.syncs += 1
            sync(storage)

        monkeypatch.setattr(Transaction, "commit", counted_commit)
        monkeypatch.setattr(FileStorage, "sync", counted_sync)

    def take(self) -> tuple[int, int]:
        """The commits and syncs since the last call."""
        taken, self.commits, self.syncs = (self.commits, self.syncs), 0, 0
        return taken


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def alpha(pool: HDF5Pool) -> Iterator[HDF5Pool]:
    before, policy = laila.active_policy, laila.DefaultPolicy()
    laila.activate_policy(policy)
    laila.alpha_pool = laila.memory.extend(pool)
    yield pool
    policy.close()
    laila.activate_policy(before)


def tree(count: int) -> laila.Manifest:
    """A manifest of small entries, and of a manifest with an array that becomes a dataset."""
    inner = laila.manifest({"array": laila.constant(np.arange(5000.0))})
    return laila.manifest({"small": [laila.constant(i) for i in range(count)], "inner": inner})


def test_a_manifest_is_one_commit_as_a_list_is(alpha: HDF5Pool, counted: Counted) -> None:
    laila.memorize([laila.constant(i) for i in range(20)]).wait()
    assert counted.take() == (1, 2)
    manifest = tree(20)
    keys = manifest.memorize().wait()
    assert counted.take() == (1, 2)
    assert len(keys) == 23
    assert set(keys) <= set(alpha.keys())
    again = laila.remember(manifest.global_id).result
    assert isinstance(again, laila.Manifest)
    found = again.resolved
    assert [entry.data for entry in found["small"]] == list(range(20))
    assert np.array_equal(found["inner"].resolved["array"].data, np.arange(5000.0))
    grown = laila.manifest({"tree": manifest, "more": laila.constant("more")})
    grown.memorize().wait()
    assert counted.take() == (2, 4)  # not all of it is new: the manifest in it is there
    assert manifest.memorize().wait() == keys
    assert counted.take() == (0, 0)


def test_the_last_slice_takes_the_manifest_along(alpha: HDF5Pool, counted: Counted) -> None:
    tree(8).memorize(batch_size=3).wait()
    assert counted.take() == (3, 6)


def test_a_conflict_is_decided_entry_by_entry(alpha: HDF5Pool, counted: Counted) -> None:
    taken = laila.constant("first")
    laila.memorize(taken).wait()
    counted.take()
    new = laila.constant("new")
    manifest = laila.manifest({"new": new, "taken": laila.constant("second", uuid=taken.uuid)})
    kinds = [type(laila.runtime.exception(child)) for child in manifest.memorize().futures()]
    assert kinds == [type(None), ImmutableEntryError, ManifestError]
    assert counted.take() == (1, 2)
    assert set(alpha.keys()) == {taken.global_id, new.global_id}
    assert laila.remember(taken.global_id).data == "first"


def test_a_commit_that_fails_leaves_nothing_of_the_manifest(
    alpha: HDF5Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tree(3)

    def full(_: FileStorage) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "sync", full)
        failures = [laila.runtime.exception(child) for child in manifest.memorize().futures()]
    assert [type(error) for error in failures] == [PoolError] * 4 + [ManifestError] * 2
    assert list(alpha.keys()) == []
    assert len(manifest.memorize().wait()) == 6


def test_a_chain_that_is_one_store_commits_once(alpha: HDF5Pool, counted: Counted) -> None:
    cache = laila.MemoryPool()
    laila.memory.extend(laila.tiers(cache, alpha))
    keys = tree(5).memorize(pool_id=cache.pool_id).wait()
    assert counted.take() == (1, 2)
    assert sorted(cache.keys()) == sorted(alpha.keys()) == sorted(keys)


def test_threads_share_a_commit_that_is_whole_for_each(pool: HDF5Pool) -> None:
    """Of two with a key in common one files nothing, whoever commits for them."""
    blobs = {name: Blob(name, b"\x90" + name.encode()) for name in ("a", "b", "c", "common")}

    def create(*names: str) -> bool:
        return pool._create_together([(name, blobs[name]) for name in names])

    told = in_threads(
        [lambda: create("a", "common"), lambda: create("b", "common"), lambda: create("c")],
        "_create_together ends",
    )
    assert sorted(told[:2]) == [False, True]
    assert told[2]
    assert set(pool.keys()) == {"a" if told[0] else "b", "c", "common"}


def test_a_reader_of_the_file_sees_all_or_nothing(pool: HDF5Pool) -> None:
    """Another pool at the file, while this one commits."""
    keys = [f"{number}-{place}" for number in range(60) for place in range(4)]
    with HDF5Pool(pool.path, read_only=True) as reader:

        def write() -> None:
            for start in range(0, len(keys), 4):
                assert pool._create_together([(key, Blob(key, b"\x90")) for key in keys[start : start + 4]])

        def read() -> None:
            found: list[str] = []
            while len(found) < len(keys):
                found = list(reader._keys())
                assert len(found) % 4 == 0

        in_threads([write, read], "a reader beside a writer ends")
