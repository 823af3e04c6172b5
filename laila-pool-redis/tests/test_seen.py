"""What a listing has given is known in a few bytes a name, and without a mistake."""

from __future__ import annotations

import tracemalloc

import pytest

from laila.pool.redis import seen as seen_module
from laila.pool.redis.seen import Seen


def test_each_name_is_new_once_and_takes_few_bytes() -> None:
    count = 100_000
    tracemalloc.start()
    try:
        seen = Seen()
        assert all(seen.add(b"laila/e/%036d" % number) for number in range(count))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert not any(seen.add(b"laila/e/%036d" % number) for number in range(count))
    assert seen.add(b"laila/e/another")
    assert taken / count < 30  # what is paid once a bucket is 20 of it; a set of the names takes 120


def test_mark_across_two_others_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # The names are their own digests, all of one bucket.
    monkeypatch.setattr(seen_module, "xxh3_128_digest", lambda name, seed: b"\0" * 8 + name)
    seen = Seen()
    assert seen.add(b"abcdefgh")
    assert seen.add(b"ijklefgh")
    assert seen.add(b"efghijkl")
    assert seen.add(b"efgh1234")
    for name in (b"abcdefgh", b"ijklefgh", b"efghijkl", b"efgh1234"):
        assert not seen.add(name)


def test_other_seed_in_each_listing() -> None:
    assert Seen()._seed != Seen()._seed
