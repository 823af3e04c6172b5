"""A stored copy that bears no good signature is never the same as one that does: it could not be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import laila
from laila.codec.trust import signing_keys
from laila.contract import Blob
from laila.entry import Entry, to_blob
from laila.errors import LailaError, UntrustedPayloadError
from laila.pool.memory import MemoryPool


def shipped() -> Callable[[], int]:
    return lambda: 42


def entry_and_blob() -> tuple[Entry, Blob]:
    entry = laila.constant(shipped(), nickname="job")
    blob = to_blob(entry)
    assert blob.signature is not None
    return entry, blob


def bearing(blob: Blob, signature: tuple[str, bytes] | None) -> Blob:
    return Blob(blob.key, blob.tree, blob.buffers, blob.nickname, blob._meta, (), signature)


def outcome(pool: MemoryPool, blob: Blob) -> Any:
    (found,) = pool.store([blob])
    return found


@pytest.mark.parametrize("forged", [None, bytes(32)])
def test_without_a_signature_that_verifies_it_is_stored_again(forged: bytes | None) -> None:
    _, blob = entry_and_blob()
    assert blob.signature is not None
    pool = MemoryPool()
    outcome(pool, bearing(blob, None if forged is None else (blob.signature[0], forged)))
    assert not isinstance(outcome(pool, blob), LailaError)
    (stored,) = pool.load([blob.key])
    assert isinstance(stored, Blob)
    assert stored.signature == blob.signature


def test_signed_with_a_key_that_is_not_here() -> None:
    _, blob = entry_and_blob()
    pool = MemoryPool()
    outcome(pool, bearing(blob, ("0" * 16, bytes(32))))
    assert isinstance(outcome(pool, blob), UntrustedPayloadError)


def test_signed_with_an_older_key_that_is_here() -> None:
    entry, old = entry_and_blob()
    pool = MemoryPool()
    outcome(pool, old)
    signing_keys.new()
    new = to_blob(entry)
    assert new.signature != old.signature
    assert not isinstance(outcome(pool, new), LailaError)
    (stored,) = pool.load([old.key])
    assert isinstance(stored, Blob)
    assert stored.signature == old.signature


def test_what_strangers_signed_is_passed_on() -> None:
    """A node that has neither key cannot say which of two is good, and keeps what it has."""
    _, blob = entry_and_blob()
    pool = MemoryPool()
    outcome(pool, bearing(blob, ("0" * 16, bytes(32))))
    assert not isinstance(outcome(pool, bearing(blob, ("1" * 16, bytes(32)))), LailaError)
