"""A policy that travels with tasks: its ticket, its secrets, and what a worker makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import laila
from laila.errors import PoolUnreachableError, SecretError
from laila.futures import Future
from laila.offload.executor import CallbackExecutor
from laila.offload.ticket import policy_from_ticket, ticket_of

TASKFORCE = "5f0c9d5e-33ce-4e0a-9a52-3a8a0c1f7a11"


class Locked(laila.MemoryPool):
    """A pool with a secret, which other processes reach."""

    durability = "process"  # type: ignore[assignment]

    def __init__(self, nickname: str | None = None, password: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.password = password


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a plugin."""
    from laila.plugins import registry

    find, name_of = registry.Registry.get, registry.Registry.name_of
    monkeypatch.setattr(
        registry.Registry, "get", lambda self, name: Locked if name == "locked" else find(self, name)
    )
    monkeypatch.setattr(
        registry.Registry, "name_of", lambda self, kind: "locked" if kind is Locked else name_of(self, kind)
    )


def pool_in(policy: laila.DefaultPolicy, nickname: str) -> laila.DefaultPool:
    return policy.central.memory.router.route(pool_nickname=nickname)


def test_routing_travels(policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    """Identity, nicknames, affinities and chains are those of the submitter; so is the task force's id."""
    policy.extend(laila.tiers("memory://", f"hdf5://{tmp_path}/a.h5", pool_nickname="chain"), affinity=3)
    with policy_from_ticket(ticket_of(policy, TASKFORCE)) as there:
        assert there.global_id == policy.global_id
        router = there.central.memory.router
        assert router.route(affinity=2) is pool_in(there, "chain")
        assert [type(tier).__name__ for tier in pool_in(there, "chain").chain()] == ["MemoryPool", "HDF5Pool"]
        assert there.central.command.alpha_taskforce.uuid == TASKFORCE
        assert ticket_of(there, "another") == ticket_of(policy, TASKFORCE), "what tasks submit has the same"


def test_a_ticket_is_the_same_until_the_policy_changes(policy: laila.DefaultPolicy) -> None:
    """So that a worker builds it once."""
    first = ticket_of(policy, TASKFORCE)
    assert ticket_of(policy, TASKFORCE) == first
    policy.extend("memory://", pool_nickname="more")
    assert ticket_of(policy, TASKFORCE) != first


@pytest.mark.usefixtures("locked")
def test_secrets_stay_at_home(policy: laila.DefaultPolicy) -> None:
    """Without them the pool says which are missing, and the others work."""
    policy.extend(Locked("vault", password="hunter2"))
    ticket = ticket_of(policy, TASKFORCE)
    assert b"hunter2" not in ticket
    with (
        policy_from_ticket(ticket) as there,
        pytest.raises(PoolUnreachableError, match="password"),
    ):
        pool_in(there, "vault").exists("key")


@pytest.mark.usefixtures("locked")
def test_secrets_are_shared_encrypted(policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that is asked for, and read by who has the key alone."""
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "k" * 40)
    policy.extend(Locked("vault", password="hunter2"))
    ticket = ticket_of(policy, TASKFORCE, share_secrets=True)
    assert ticket == ticket_of(policy, TASKFORCE, share_secrets=True)
    assert b"hunter2" not in ticket
    with policy_from_ticket(ticket) as there:
        assert pool_in(there, "vault").password == "hunter2"  # type: ignore[attr-defined]
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "x" * 40)
    with pytest.raises(SecretError):
        policy_from_ticket(ticket)


def test_a_file_of_another_host(policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    """Is refused, and not made anew; where the path is there, as on a network file system, it is used."""
    policy.extend(f"hdf5://{tmp_path}/a.h5", pool_nickname="file")
    entry = laila.constant(1)
    policy.central.memory.memorize(entry, pool_nickname="file").wait()
    ticket = json.loads(ticket_of(policy, TASKFORCE))
    ticket["host"] = "elsewhere"
    with policy_from_ticket(json.dumps(ticket).encode()) as there:
        assert there.central.memory.remember([entry], pool_nickname="file").wait()[0].data == 1
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    with (
        policy_from_ticket(json.dumps(ticket).encode()) as there,
        pytest.raises(PoolUnreachableError, match="of the host elsewhere"),
    ):
        there.central.memory.remember(entry, pool_nickname="file").wait()
    assert not (tmp_path / "a.h5").exists()


def test_a_file_by_default(policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    """Goes by the submitter's folders, whatever those of the worker are: it is not made anew."""
    from laila.plugins import pools

    policy.extend(pools().get("hdf5")(nickname="by default"))
    entry = laila.constant(1)
    policy.central.memory.memorize(entry, pool_nickname="by default").wait()
    ticket = ticket_of(policy, TASKFORCE)
    read = "import sys; from laila.offload.ticket import policy_from_ticket as arrive; "
    read += "policy = arrive(sys.stdin.buffer.read()); print("
    read += f"policy.central.memory.remember({entry.global_id!r}, pool_nickname='by default').data)"
    done = subprocess.run(
        [sys.executable, "-c", read],
        input=ticket,
        env={**os.environ, "LAILA_HOME": f"{tmp_path}/another"},
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.strip() == b"1", done.stderr.decode()


@pytest.mark.parametrize("url", ["redis://localhost:6379", "redis://[::1]:1", "unix:///run/redis.sock"])
def test_a_server_that_the_submitters_host_alone_reaches(policy: laila.DefaultPolicy, url: str) -> None:
    """Is refused on other hosts: what answers there by this address is another one, and may be empty."""
    ticket = json.loads(ticket_of(policy, TASKFORCE))
    (alpha,) = ticket["policy"]["pools"]
    alpha["plugin"], alpha["options"], ticket["reasons"] = "redis", {"url": url}, {}
    ticket["host"] = "elsewhere"
    with (
        policy_from_ticket(json.dumps(ticket).encode()) as there,
        pytest.raises(PoolUnreachableError, match="is reached on the host elsewhere alone"),
    ):
        there.central.memory.remember(nickname="x").wait()


def test_a_plugin_that_is_missing_there(policy: laila.DefaultPolicy, tmp_path: Path) -> None:
    """Its pool says so; the others work."""
    policy.extend(f"hdf5://{tmp_path}/a.h5", pool_nickname="file")
    ticket = ticket_of(policy, TASKFORCE).replace(b'"plugin": "hdf5"', b'"plugin": "nowhere"')
    with (
        policy_from_ticket(ticket) as there,
        pytest.raises(PoolUnreachableError, match="nowhere"),
    ):
        pool_in(there, "file").exists("key")


@pytest.fixture
def hands() -> Iterator[CallbackExecutor]:
    made = CallbackExecutor("test")
    yield made
    made.stop()


def test_hands_keep_the_order_and_go_on_after_an_error(
    hands: CallbackExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []
    last: Future[None] = Future()

    def fail() -> None:
        raise ValueError("on purpose")

    for n in range(50):
        hands.call(lambda n=n: done.append(n))  # type: ignore[misc]
    hands.call(fail)
    hands.call(lambda: setattr(last, "result", None))
    last.wait(150)
    assert done == list(range(50))
    assert "on purpose" in caplog.text


def test_hands_grow_while_they_wait(hands: CallbackExecutor) -> None:
    """Each of a hundred waits for the next one."""
    futures: list[Future[int]] = [Future() for _ in range(101)]

    def step(n: int) -> None:
        if n < 100:
            hands.call(lambda: step(n + 1))
            futures[n].result = futures[n + 1].wait() + 1
        else:
            futures[n].result = 0

    hands.call(lambda: step(0))
    assert futures[0].wait(150) == 100


def test_tasks_in_other_processes_cost_an_import_nothing() -> None:
    """What they need is imported when somebody uses them."""
    program = (
        "import laila, sys; laila.memory; print(*(m for m in sys.modules if 'remote' in m or 'worker' in m))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
