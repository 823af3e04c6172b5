"""What is stored and damaged is written again, or told, by whatever would otherwise say that it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import laila
from kinds import KINDS, TRANSFORMED, Place
from laila.blob.buffer import Buffer
from laila.codec import encode
from laila.contract import Blob
from laila.entry import to_blob
from laila.errors import CorruptEntryError, EvolutionConflictError, ImmutableEntryError

pytestmark = pytest.mark.usefixtures("policy")

SIZES = [3, 3_000, 3_000_000]  # in the tree, in a small buffer, in one that is hashed while it is copied


def payload(size: int) -> Any:
    values = np.random.default_rng(1).integers(0, 255, size, dtype=np.uint8)
    return values.tolist() if size < 10 else values


def flipped(data: bytes | memoryview) -> bytes:
    return bytes([data[0] ^ 1]) + bytes(data[1:])


def damage(pool: laila.Pool, key: str, *, head: bool = False) -> None:
    """Flip a bit of what is stored under ``key``, as a disk does, under the checksums that it had."""
    (blob,) = pool.load_here([key], keep=lambda _: True)
    assert isinstance(blob, Blob)
    tree, buffers, digest = blob.tree, blob.buffers, blob.digest
    if head:
        digest = flipped(digest)
    elif buffers:
        last = buffers[-1]
        data = memoryview(flipped(last.data))
        broken_last = Buffer(data, last.dtype, last.shape, last.order, checksum=last.checksum)
        if last.pieces:
            broken_last.give_sums(last.pieces)
        buffers = (*buffers[:-1], broken_last)
    else:
        tree = flipped(tree)
    broken = Blob(key, tree, buffers, transformations=blob.transformations, digest=digest)
    pool._write(key, broken)
    (error,) = pool.load_here([key])
    assert isinstance(error, CorruptEntryError)


def is_sound(pool: laila.Pool, *keys: str) -> bool:
    return all(isinstance(found, Blob) for found in pool.load_here(list(keys)))


def forged(a: int, b: int) -> Any:
    """Two of these with ``a`` and ``b`` exchanged have one XXH3-128 hash."""
    words = np.zeros(64, np.uint64)
    words[0], words[8] = a << 32 | 0x396CFEB8, b << 32 | 0x2C81017C
    return words


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", ["plain", "zlib, aes b"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_memorizing_again_writes_what_is_damaged_again(
    kind: str, made: str, size: int, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    pool = laila.alpha_pool = place.open(kind, "d", transformations=TRANSFORMED[made])
    for entry in (laila.constant(payload(size), nickname="c"), laila.variable(payload(size))):
        key = laila.memorize(entry).wait()
        damage(pool, key)
        assert laila.memorize(entry).wait() == key
        assert is_sound(pool, key)
        assert "was damaged" in caplog.text
        assert key in caplog.text
        caplog.clear()
        assert laila.memorize(entry).wait() == key
        assert not caplog.text


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", ["plain", "zlib, aes b"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_a_copy_replaces_what_is_damaged(kind: str, made: str, size: int, place: Place) -> None:
    src = place.open("memory", "s", transformations=TRANSFORMED["aes a"])
    dest = place.open(kind, "d", transformations=TRANSFORMED[made])
    blobs = [to_blob(laila.constant(payload(size))), to_blob(laila.variable(payload(size)))]
    keys = [blob.key for blob in blobs]
    src.store(blobs)
    for every in (keys, keys[:1], keys[1:]):
        (dest <= src).wait()
        assert is_sound(dest, *keys)
        for key in every:
            damage(dest, key)
    assert not is_sound(dest, *keys)


def test_a_damaged_source_is_told(place: Place) -> None:
    src, dest = place.open("files", "s"), place.open("hdf5", "d")
    blob = to_blob(laila.constant(payload(3_000)))
    src.store([blob])
    (dest <= src).wait()
    damage(src, blob.key)
    (error,) = (dest <= src).exceptions
    assert isinstance(error, CorruptEntryError)
    assert is_sound(dest, blob.key)


@pytest.mark.parametrize("kind", ["files", "hdf5"])
def test_a_manifest_again_writes_its_damaged_entries_again(kind: str, place: Place) -> None:
    pool = laila.alpha_pool = place.open(kind, "d")
    leaves = [laila.constant(payload(size)) for size in SIZES]
    manifest = laila.Manifest({"a": leaves[0], "in": laila.Manifest({"b": leaves[1], "c": leaves[2]})})
    keys = laila.memorize(manifest).wait()
    for again in (laila.memorize, lambda one: one.memorize()):
        for key in keys:
            damage(pool, key)
        again(manifest).wait()
        assert is_sound(pool, *keys)
    src = laila.MemoryPool()
    laila.memory.extend(src, pool_nickname="src")
    laila.memorize(manifest, pool_nickname="src").wait()
    for key in keys:
        damage(pool, key)
    (pool[manifest] <= src[manifest]).wait()
    assert is_sound(pool, *keys)


def test_a_damaged_cache_is_filled_again(place: Place) -> None:
    cache, last = place.open("files", "c"), place.open("hdf5", "d")
    laila.alpha_pool = laila.tiers(cache, last)
    entry = laila.constant(payload(3_000))
    key = laila.memorize(entry).wait()
    for again in (lambda: laila.remember(key), lambda: laila.memorize(entry)):
        damage(cache, key)
        again().wait()
        assert is_sound(cache, key)
        damage(last, key)
        laila.memorize(entry).wait()
        assert is_sound(last, key)


@pytest.mark.parametrize("kind", KINDS)
def test_another_content_of_the_same_digest_is_another_content(kind: str, place: Place) -> None:
    pool = laila.alpha_pool = place.open(kind, "d")
    one, other = forged(1, 1000), forged(1000, 1)
    blobs = [encode(one, key="k"), encode(other, key="k")]
    assert blobs[0].digest == blobs[1].digest
    laila.memorize(laila.constant(one, nickname="it")).wait()
    with pytest.raises(ImmutableEntryError):
        laila.memorize(laila.constant(other, nickname="it")).wait()
    v = laila.variable(one)
    laila.memorize(v).wait()
    src = laila.MemoryPool()
    c = laila.constant(other, nickname="it")
    src.store([to_blob(c), encode(other, key=v.global_id)])
    (error,) = (pool <= src).exceptions
    assert isinstance(error, EvolutionConflictError)
    (stayed, replaced) = (laila.remember(key).data for key in (v.global_id, c.global_id))
    assert np.array_equal(stayed, one)
    assert np.array_equal(replaced, other)  # a copy replaces a constant


def test_a_name_that_leads_to_damage_is_told_as_damage(place: Place) -> None:
    pool = laila.alpha_pool = place.open("files", "d")
    key = laila.memorize(laila.constant(payload(3_000), nickname="it")).wait()
    laila.memorize(laila.Manifest({"x": laila.constant(1)}, nickname="it")).wait()
    damage(pool, key)
    with pytest.raises(CorruptEntryError):
        laila.remember(nickname="it").wait()
