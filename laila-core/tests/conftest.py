"""A policy of its own for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import laila


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    """A fresh policy, active until the test ends; what it opened is closed then."""
    before = laila.active_policy
    made = laila.DefaultPolicy()
    laila.activate_policy(made)
    yield made
    made.close()
    if not before.closed:
        laila.activate_policy(before)
