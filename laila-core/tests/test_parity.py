"""A policy of this process and a peer have the same verbs, which do the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import laila
from dict_protocol import WIRES, DictProtocol
from laila.central.interface import CommandVerbs, MemoryVerbs, PolicyVerbs
from laila.errors import (
    EmptyManifestError,
    EntryNotFoundError,
    EvolutionConflictError,
    IdentityConflictError,
    IdentityError,
    ImmutableEntryError,
    ManifestError,
    PoolNotFoundError,
    SettingsError,
)
from laila.peering.command import RemoteCommand
from laila.peering.memory import RemoteMemory
from laila.policy import DefaultCentralCommand, DefaultCentralMemory, RemotePolicyProxy

TWINS = [
    (MemoryVerbs, DefaultCentralMemory, RemoteMemory),
    (CommandVerbs, DefaultCentralCommand, RemoteCommand),
    (PolicyVerbs, laila.DefaultPolicy, RemotePolicyProxy),
]
OF_PEERS_ALONE = {"ship"}
"""Options that a policy of this process has no use for."""


def options(function: Any) -> dict[str, tuple[Any, Any]]:
    """The parameters of a function: kind and default of each."""
    parameters = inspect.signature(function).parameters
    return {
        name: (parameter.kind, parameter.default)
        for name, parameter in parameters.items()
        if name not in OF_PEERS_ALONE
    }


@pytest.mark.parametrize(
    ("verbs", "name"),
    [
        (verbs, name)
        for verbs, *_ in TWINS
        for name, value in vars(verbs).items()
        if inspect.isfunction(value)
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_twins_have_the_same_arguments(verbs: Any, name: str) -> None:
    _, here, there = next(twins for twins in TWINS if twins[0] is verbs)
    wanted = options(getattr(verbs, name))
    assert options(getattr(here, name)) == wanted
    assert options(getattr(there, name)) == wanted


def test_a_verb_of_one_is_a_verb_of_both() -> None:
    """What has a public name in both twins stands in the class that both implement."""
    for verbs, here, there in TWINS:
        both = {name for name in vars(here).keys() & vars(there).keys() if name[0] != "_"}
        assert both - vars(verbs).keys() - {"Central", "scope"} == set()


@pytest.fixture(params=["here", "a peer"])
def acting(request: pytest.FixtureRequest, policy: laila.DefaultPolicy) -> Iterator[Any]:
    """The active policy: one of this process, or a peer of it. Its pool "results" is not the alpha pool."""
    if request.param == "here":
        policy.central.memory.extend(laila.MemoryPool(), pool_nickname="results")
        yield policy
        return
    with laila.DefaultPolicy() as other:
        other.central.memory.extend(laila.MemoryPool(), pool_nickname="results")
        for each in (policy, other):
            each.central.communication.add_connection(DictProtocol())
        peer = laila.peers[laila.add_peer(f"dict://{other.global_id}", "secret")]
        laila.activate_policy(peer)
        yield peer
    WIRES.clear()


def test_entries(acting: Any) -> None:
    first, second = laila.constant([1, {2}], nickname="first"), laila.constant("two")
    assert laila.memorize(first).wait() == first.global_id
    assert laila.memorize([first, second]).wait() == [first.global_id, second.global_id]
    assert laila.remember(nickname="first").data == [1, {2}]
    assert [entry.data for entry in laila.remember([second.global_id, first]).wait()] == ["two", [1, {2}]]
    with pytest.raises(ImmutableEntryError):
        laila.memorize(laila.constant("other", nickname="first")).wait()
    laila.memorize(laila.constant("other", nickname="first"), overwrite=True).wait()
    assert acting.remember(first.global_id, refresh=True).data == "other"
    assert laila.forget([first]).wait() == [None]
    assert laila.remember(first, missing_ok=True).wait() is None
    with pytest.raises(EntryNotFoundError):
        laila.remember(first).wait()


def test_evolutions(acting: Any) -> None:
    """`on_conflict="next"` finds a free evolution behind many that are taken."""
    for number in range(150):
        laila.memorize(laila.variable(number, nickname="loss", evolution=number)).wait()
    late = laila.variable("late", nickname="loss", evolution=0)
    with pytest.raises(EvolutionConflictError):
        laila.memorize(late).wait()
    key = laila.memorize(late, on_conflict="next").wait()
    assert key.endswith("-150")
    assert laila.history(nickname="loss") == list(range(151))
    assert laila.remember(nickname="loss").data == "late"


def test_manifests(acting: Any) -> None:
    manifest = laila.Manifest({"a": laila.constant(1), "b": [laila.constant(2)]}, nickname="model")
    manifest.memorize().wait()
    found = laila.remember(nickname="model").wait()
    assert [entry.data for entry in found.remember().wait()] == [1, 2]
    with pytest.raises(SettingsError, match="on_conflict"):
        laila.memorize(manifest, on_conflict="next")
    found.forget().wait()
    assert laila.remember(manifest, missing_ok=True).wait() is None


def test_what_refers_to_a_failure_is_not_stored(acting: Any) -> None:
    """Both sides store by one algorithm: the same outcomes, and the same states of entries."""
    laila.memorize(laila.constant("first", nickname="taken")).wait()
    taken, free, alone = laila.constant("other", nickname="taken"), laila.constant(1), laila.constant(2)
    bad = laila.Manifest({"taken": taken, "alone": alone})
    good = laila.Manifest({"free": free})
    outer = laila.Manifest({"bad": bad, "free": free})
    group = laila.memorize([good, outer, free])
    assert [type(error) for error in group.exceptions] == [ManifestError]
    assert [future.exception is not None for future in group.futures()] == [False, True, False]
    assert free.state is good.state is laila.EntryState.POOLED
    assert taken.state is bad.state is outer.state is laila.EntryState.READY
    assert laila.remember([free, good, bad], missing_ok=True).wait()[2] is None


def test_what_is_not_there_is_refused(acting: Any) -> None:
    with pytest.raises(PoolNotFoundError):
        laila.memorize(laila.constant(1), pool_nickname="nowhere").wait()
    with pytest.raises(PoolNotFoundError):
        laila.remember(nickname="x", pool_nickname="nowhere").wait()


@laila.export(role="read")
def an_entry() -> laila.Entry:
    """Make an entry, for whoever may call this."""
    return laila.constant("made in a task", nickname="made")


def test_tasks_memorize_where_they_run(acting: Any) -> None:
    key = laila.command.submit(an_entry, memorize_to="results").wait()
    assert key == laila.constant(None, nickname="made").global_id
    assert laila.remember(nickname="made", pool_nickname="results").data == "made in a task"


def test_an_evolution_by_its_name(acting: Any) -> None:
    for number in range(3):
        laila.memorize(laila.variable(f"state {number}", nickname="loss", evolution=number)).wait()
    stem = laila.variable(None, nickname="loss").global_id.removesuffix("-0")
    assert laila.remember(nickname="loss", evolution=1).data == "state 1"
    assert laila.remember(stem, evolution=0).data == "state 0"
    assert laila.remember(f"{stem}-2", evolution=2).data == "state 2"
    found = laila.remember(nickname=["loss", "other"], evolution=1, missing_ok=True).wait()
    assert [entry and entry.data for entry in found] == ["state 1", None]
    with pytest.raises(EntryNotFoundError):
        laila.remember(nickname="loss", evolution=3).wait()
    with pytest.raises(IdentityConflictError, match="disagree"):
        laila.remember(f"{stem}-2", evolution=1)
    for wrong in (-1, "1", True, 1.0):
        with pytest.raises(IdentityError, match="whole number"):
            laila.remember(nickname="loss", evolution=wrong)  # type: ignore[arg-type]
    with pytest.raises(IdentityError, match="no evolutions"):
        laila.remember(nickname="loss", scope="MANIFEST", evolution=1)


def test_a_manifest_is_resolved_by_an_event_loop(acting: Any) -> None:
    manifest = laila.Manifest({"a": laila.constant(1), "b": {"c": [laila.constant(2)]}}, nickname="model")
    manifest.memorize().wait()
    tree = asyncio.run(manifest.resolved_async())
    assert tree["a"].data == 1
    assert tree["b"]["c"][0].data == 2
    with pytest.raises(EmptyManifestError):
        asyncio.run(laila.Manifest().resolved_async())
    laila.forget(tree["a"]).wait()
    with pytest.raises(EntryNotFoundError):
        asyncio.run(manifest.resolved_async())
