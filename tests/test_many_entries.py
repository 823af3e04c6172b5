"""A pool of very many entries, made up as it is listed: what listing, `gc` and `verify` cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import laila
from laila.codec import encode
from laila.tiering.verifying import verify_pool
from laila.upkeep.collecting import collect

LEAVES = 1000
ENTRY, MANIFEST = "LAILA:ENTRY:GLOBAL_ID:", "LAILA:MANIFEST:GLOBAL_ID:"


class Simulated(laila.MemoryPool):
    """``count`` entries, none of them stored, in manifests of a thousand; one in ten has a name."""

    count = 0

    def _leaf(self, number: int) -> str:
        return f"{ENTRY}{number:08x}-0000-8000-8000-000000000000"

    def _manifest(self, number: int) -> str:
        version = 5 if number % 10 == 0 else 4
        return f"{MANIFEST}{number:08x}-0000-{version}000-8000-000000000000"

    def _keys(self) -> Iterator[str]:
        for number in range(self.count):
            yield self._leaf(number)
            if number % LEAVES == 0:
                yield self._manifest(number // LEAVES)

    def _blob(self, key: str) -> Any:
        number = int(key.partition("GLOBAL_ID:")[2][:8], 16)
        if key.startswith(MANIFEST):
            first = number * LEAVES
            tree = {"leaves": [self._leaf(first + n) for n in range(min(LEAVES, self.count - first))]}
            return encode({"tree": tree}, key=key, created=1.0)
        return encode(number, key=key, created=1.0) if key.startswith(ENTRY) else None

    def _read(self, key: str) -> Any:
        return self._blob(key)

    def _read_head(self, key: str) -> Any:
        return self._blob(key)

    def _read_many(self, keys: Sequence[str]) -> Any:
        return [self._blob(key) for key in keys]

    def _exists(self, key: str) -> bool:
        return False


def measured(count: int) -> dict[str, float]:
    """Return the seconds that listing, collecting and verifying take, and the peak of memory in MiB."""
    with Simulated() as pool:
        pool.count = count
        began = time.perf_counter()
        entries = sum(1 for _ in pool)
        listed = time.perf_counter()
        report = collect(pool)
        collected = time.perf_counter()
        assert report.entries == entries
        # Nine of ten manifests have no name: they and their leaves are candidates.
        manifests = -(-count // LEAVES)
        named = -(-manifests // 10)
        kept = named + sum(min(LEAVES, count - number * 10 * LEAVES) for number in range(named))
        assert len(report.candidates) == entries - kept
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began_verify = time.perf_counter()
        assert verify_pool(pool).entries == entries
        verified = time.perf_counter()
    return {
        "list": listed - began,
        "gc": collected - listed,
        "verify": verified - began_verify,
        "MiB": peak,
    }


def test_a_collection_finds_what_has_no_name_among_many() -> None:
    measured(3000)


@pytest.mark.long
def test_a_collection_among_a_million(record_property: Any) -> None:
    """Print what the page of costs is extrapolated from."""
    for count in (100_000, 1_000_000):
        figures = measured(count)
        print(count, {name: round(value, 1) for name, value in figures.items()})
        record_property(str(count), figures)
