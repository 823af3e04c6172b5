"""A policy of its own, or none, for each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import laila
from laila.active import clear_policy, peek_policy
from laila.plugins import registry
from laila.plugins.plugin import Plugin


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


@pytest.fixture
def no_policy() -> Iterator[None]:
    """No active policy, as in a program that uses futures alone: what is spawned runs in the caller."""
    before = peek_policy()
    clear_policy()
    yield
    if before is not None and not before.closed:
        laila.activate_policy(before)


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without laila-pool-s3."""
    usable = registry._usable

    def found(group: str) -> dict[str, Plugin]:
        return {name: plugin for name, plugin in usable(group).items() if name != "s3"}

    monkeypatch.setattr(registry, "_usable", found)
