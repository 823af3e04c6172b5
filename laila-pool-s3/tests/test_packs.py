"""Packed leaves: how many requests they cost, counted at the server."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import laila
from servers.faults import Faults

if TYPE_CHECKING:
    from conftest import OpenPool

SAMPLES, CHOSEN = 2000, 256


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    before = laila.active_policy
    with laila.DefaultPolicy() as made:
        laila.activate_policy(made)
        yield made
    laila.activate_policy(before)


def test_a_sample_is_one_request_at_most(
    policy: laila.DefaultPolicy, open_pool: OpenPool, faults: Faults
) -> None:
    with open_pool(endpoint_url=faults.url) as pool:
        policy.central.memory.extend(pool)
        policy.central.memory.alpha_pool = pool
        samples = [laila.constant(i.to_bytes(2, "little") * 500) for i in range(SAMPLES)]
        laila.Manifest({"samples": samples}, nickname="samples").memorize(pack="128 KiB").wait()
        puts = sum(request.method == "PUT" for request in faults.requests)
        assert puts < SAMPLES / 90
        manifest: Any = laila.remember(nickname="samples", scope="MANIFEST").result
        leaves = manifest["samples"]
        numbers = Random(1).sample(range(SAMPLES), CHOSEN)
        faults.clear()
        found = manifest.remember([leaves[i] for i in numbers]).result
        assert [int.from_bytes(entry.data[:2], "little") for entry in found] == numbers
        requests = list(faults.requests)
        assert len(requests) <= CHOSEN
        assert {request.method for request in requests} == {"GET"}
        assert all("range" in request.headers for request in requests)
