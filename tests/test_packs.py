"""Manifests with packed leaves in each kind of pool: stored, read in part, copied and forgotten."""

from __future__ import annotations

from typing import Any

import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place

pytestmark = pytest.mark.usefixtures("policy")

COUNT = 60


def data_set() -> laila.Manifest:
    samples = [{"text": "x" * (100 * i), "number": i} for i in range(COUNT)]
    return laila.Manifest({"samples": samples}, nickname="data", by="content")


def check(manifest: laila.Manifest, pool: str) -> None:
    leaves: Any = manifest["samples"]
    chosen = [41, 3, 59, 3]
    found = manifest.remember([leaves[i] for i in chosen], pool_nickname=pool).result
    assert [entry.data["number"] for entry in found] == chosen
    every = manifest.resolve(pool_nickname=pool)["samples"]
    assert [len(entry.data["text"]) for entry in every] == [100 * i for i in range(COUNT)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["plain", "zlib, aes b"])
def test_packs_in_each_kind_of_pool(place: Place, kind: str, how: str) -> None:
    pool = laila.memory.extend(place.open(kind, "one", transformations=TRANSFORMED[how]), pool_nickname="one")
    data_set().memorize(pack="64 KiB", pool_nickname="one").wait()
    assert len(pool) == 4
    manifest = laila.remember(nickname="data", scope="MANIFEST", pool_nickname="one").result
    check(manifest, "one")
    data_set().memorize(pack="64 KiB", pool_nickname="one").wait()
    assert len(pool) == 4
    other = laila.MemoryPool()
    laila.memory.extend(other, pool_nickname="copy")
    (other[manifest] <= pool[manifest]).wait()
    check(manifest, "copy")
    assert laila.verify(pool).result.entries == 4
    manifest.forget(pool_nickname="one").wait()
    assert len(pool) == 0
