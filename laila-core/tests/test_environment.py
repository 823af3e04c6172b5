"""The environment: a policy written down, and built again, here and in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.contract import Settings, option
from laila.errors import EnvironmentSnapshotError
from laila.plugins.first_party import pip_line


def rebuilt(environment: Any) -> laila.DefaultPolicy:
    """Rebuild from what JSON carried."""
    return laila.DefaultPolicy.from_environment(json.loads(json.dumps(environment)))


def test_everything_comes_back(policy: laila.DefaultPolicy) -> None:
    cache, middle, origin = (laila.MemoryPool(nickname=name) for name in ("cache", "middle", "origin"))
    laila.tiers(cache, middle, origin, pool_nickname="data", affinity=2.5)
    side = laila.MemoryPool(nickname="side", transformations=["zlib", "base64"])
    laila.memory.extend(side, affinity=-1)
    laila.memory.extend(side, pool_nickname="again")
    anonymous = laila.MemoryPool()
    laila.memory.extend(anonymous, pool_nickname="side-effect")
    laila.memory.alpha_pool = cache
    environment = laila.environment
    made = rebuilt(environment)
    try:
        assert made.environment == environment
        assert made.global_id == policy.global_id
        router = made.central.memory.router
        head = router.route(pool_nickname="data")
        assert [tier.nickname for tier in head.chain()] == ["cache", "middle", "origin"]
        assert (head.write_through, head.proxy_to.write_through) == (True, False)  # type: ignore[union-attr]
        assert router.alpha_pool is head
        assert router.affinities[head.global_id] == 2.5
        assert router.route(pool_nickname="again") is router.route(pool_nickname="side")
        assert router.route(pool_id=anonymous.global_id) is router.route(pool_nickname="side-effect")
        with pytest.raises(KeyError):
            router.route(pool_nickname="middle")  # was not registered by itself
        back = router.route(pool_nickname="side")
        assert back.transformations == side.transformations
        assert back is not side
        assert laila.active_policy is policy
        gid = made.central.memory.memorize(laila.constant([1])).result
        assert all(gid in tier for tier in head.chain())
        assert gid not in cache
    finally:
        made.close()


def test_the_pickle_flag_and_the_nickname() -> None:
    with laila.DefaultPolicy(nickname="strict", pickle=False) as policy:
        environment = policy.environment
    with rebuilt(environment) as made:
        assert made.nickname == "strict"
        assert made.central.memory.pickle is False


def test_task_forces_come_back() -> None:
    threads = laila.PythonThreadPoolTaskForce(workers=3, nickname="workers")
    with laila.DefaultPolicy(taskforce=threads) as policy:
        from laila.taskforce.inline import InlineTaskForce

        policy.central.command.add_taskforce(InlineTaskForce(nickname="second"))
        environment = policy.environment
    with rebuilt(environment) as made:
        command = made.central.command
        assert [force.nickname for force in command.taskforces.values()] == ["workers", "second"]
        assert command.alpha_taskforce.nickname == "workers"
        assert command.alpha_taskforce.options()["workers"] == 3
        assert made.environment == environment
        assert command.submit(lambda: 3, wait=True) == 3


def test_another_process_finds_what_was_stored(tmp_path: Path, policy: laila.DefaultPolicy) -> None:
    pytest.importorskip("laila.pool.hdf5")
    laila.tiers(
        laila.MemoryPool(nickname="fast"),
        f"hdf5://{tmp_path}/run.h5?durable=process",
        pool_nickname="data",
        affinity=3,
    )
    v = laila.variable({"step": 0}, nickname="run")
    for step in range(3):
        laila.memorize(v, pool_nickname="data").wait()
        v.evolve(data={"step": step + 1})
    (tmp_path / "environment.json").write_text(json.dumps(laila.environment))
    code = """
        import json, sys, laila
        environment = json.load(open(sys.argv[1]))
        laila.active_policy = laila.DefaultPolicy.from_environment(environment)
        assert laila.environment == environment
        entry = laila.remember(nickname="run", pool_nickname="data").result
        pool = laila.memory.router.route(affinity=2)
        classes = [type(tier).__name__ for tier in pool.chain()]
        print(entry.data["step"], laila.history(entry, affinity=2), classes)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "environment.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2 [0, 1, 2] ['MemoryPool', 'HDF5Pool']"


def broken(change: Any) -> dict[str, Any]:
    with laila.DefaultPolicy() as policy:
        cache = policy.extend(laila.MemoryPool(nickname="cache"))
        cache << laila.MemoryPool(nickname="origin")
        environment: dict[str, Any] = json.loads(json.dumps(policy.environment))
    change(environment)
    return environment


def first_pool(**changes: Any) -> Any:
    return lambda env: env["pools"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda env: env.pop("uuid"), ["uuid"]),
        (lambda env: env.update(more=1), ["more"]),
        (lambda env: env.update(format=99), ["99"]),
        (lambda env: env.update(alpha_pool="nobody"), ["nobody"]),
        (lambda env: env.update(pools=3), ["pools"]),
        (lambda env: env.update(uuid="nonsense"), ["nonsense"]),
        (first_pool(origin="nobody"), ["pools[1].origin", "nobody"]),
        (first_pool(plugin="s3"), ["pools[1] s3", pip_line("laila-pool-s3")]),
        (first_pool(plugin="no such"), ["pools[1] no such"]),
        (first_pool(options={"nonsense": 1}), ["pools[1] memory", "nonsense"]),
        (first_pool(options={"transformations": [["no such", {}]]}), ["no such"]),
        (first_pool(missing_secrets=["password"]), ["pools[1] memory", "secret", "password"]),
        (first_pool(uuid="nonsense"), ["nonsense"]),
        (
            lambda env: (env["pools"][0].update(plugin="no such"), env["pools"][1].update(plugin="nor that")),
            ["pools[0] no such", "pools[1] nor that"],
        ),
        (lambda env: env["taskforces"].append({"plugin": "no such", "uuid": "x"}), ["taskforces[0] no such"]),
        (
            lambda env: env["protocols"].append({"plugin": "tcpip", "uuid": "x"}),
            ["protocols[0] tcpip", "peer_secret_key"],
        ),
    ],
)
@pytest.mark.usefixtures("uninstalled")
def test_a_failed_rebuild_names_everything_and_changes_nothing(
    policy: laila.DefaultPolicy, change: Any, named: list[str]
) -> None:
    environment = broken(change)
    before = (laila.environment, set(laila.local_policies))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its parts are looked at
        laila.DefaultPolicy.from_environment(environment)
    assert isinstance(caught.value, EnvironmentSnapshotError)
    assert caught.value.problems
    for name in named:
        assert name in str(caught.value)
    assert (laila.environment, set(laila.local_policies)) == before


def test_a_cycle_in_an_environment() -> None:
    def close_it(env: dict[str, Any]) -> None:
        by_name = {pool["options"].get("nickname"): pool for pool in env["pools"]}
        by_name["origin"]["origin"] = by_name["cache"]["uuid"]

    with pytest.raises(EnvironmentSnapshotError, match="cycle"):
        laila.DefaultPolicy.from_environment(broken(close_it))


@pytest.mark.parametrize("thing", [None, 3, "text", [], {}])
def test_what_is_no_environment(thing: Any) -> None:
    with pytest.raises(EnvironmentSnapshotError):
        laila.DefaultPolicy.from_environment(thing)


def test_what_was_opened_for_a_failed_rebuild_is_closed(tmp_path: Path) -> None:
    pytest.importorskip("laila.pool.hdf5")
    url = f"hdf5://{tmp_path}/run.h5"
    with laila.DefaultPolicy() as policy:
        policy.extend(url)
        environment = json.loads(json.dumps(policy.environment))
    environment["alpha_pool"] = "nobody"
    with pytest.raises(EnvironmentSnapshotError):
        laila.DefaultPolicy.from_environment(environment)
    from laila.plugins import pools

    with pools().get("hdf5").from_url(url, lock="error") as pool:  # type: ignore[attr-defined]
        pool["k"] = b"x"


class Unregistered(laila.MemoryPool):
    pass


def test_a_class_that_no_plugin_brings_cannot_be_written_down(policy: laila.DefaultPolicy) -> None:
    laila.memory.extend(Unregistered(nickname="mine"))
    with pytest.raises(EnvironmentSnapshotError, match="Unregistered"):
        _ = laila.environment


def test_secrets_are_left_out_and_named(policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    from laila.plugins import registry

    class Locked(laila.MemoryPool):
        def __init__(self, nickname: str | None = None, password: str | None = None) -> None:
            super().__init__(nickname=nickname)
            self.password = password

    find, name_of = registry.Registry.get, registry.Registry.name_of
    monkeypatch.setattr(
        registry.Registry, "get", lambda self, name: Locked if name == "locked" else find(self, name)
    )
    monkeypatch.setattr(
        registry.Registry, "name_of", lambda self, kind: "locked" if kind is Locked else name_of(self, kind)
    )
    laila.memory.extend(Locked("vault", password="hunter2"))
    environment = laila.environment
    assert "hunter2" not in json.dumps(environment)
    assert environment["pools"][1]["missing_secrets"] == ["password"]
    with pytest.raises(EnvironmentSnapshotError, match="password") as caught:
        rebuilt(environment)
    assert "hunter2" not in str(caught.value)
    with laila.DefaultPolicy.from_environment(environment, secrets={"password": "hunter2"}) as made:
        vault = made.central.memory.router.route(pool_nickname="vault")
        assert vault.password == "hunter2"  # type: ignore[attr-defined]
        assert made.environment == environment


class SafeSettings(Settings):
    prefix = "safe"

    password: str | None = option(default=None, secret=True, help="what opens it")


class Safe(laila.MemoryPool):
    """A pool whose options are settings, one of which is a secret that may be left out."""

    def __init__(self, nickname: str | None = None, password: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.settings = SafeSettings.resolve({"password": password})


def test_a_secret_setting_is_asked_for_where_it_had_a_value(
    policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that never had its secret is rebuilt without it; one that had it is not."""
    from laila.plugins import registry

    find, name_of = registry.Registry.get, registry.Registry.name_of
    monkeypatch.setattr(
        registry.Registry, "get", lambda self, name: Safe if name == "safe" else find(self, name)
    )
    monkeypatch.setattr(
        registry.Registry, "name_of", lambda self, kind: "safe" if kind is Safe else name_of(self, kind)
    )
    laila.memory.extend(Safe("open"))
    environment = laila.environment
    assert environment["pools"][1]["missing_secrets"] == []
    rebuilt(environment).close()
    laila.memory.extend(Safe("locked", password="hunter2"))
    environment = laila.environment
    assert environment["pools"][2]["missing_secrets"] == ["password"]
    with pytest.raises(EnvironmentSnapshotError, match="a secret is missing"):
        rebuilt(environment)
    monkeypatch.setenv("LAILA_SAFE_PASSWORD", "hunter2")
    with rebuilt(environment) as made:
        assert made.environment["pools"][2] == environment["pools"][2]
