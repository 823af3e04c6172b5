"""Tasks in other processes use what only their submitter has, by coming back to it as a peer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import laila
from laila.active import clear_policy
from laila.contract import TaskForce
from laila.errors import EntryNotFoundError, EvolutionConflictError, ImmutableEntryError, PoolUnreachableError
from laila.offload.ticket import policy_from_ticket, ticket_of
from laila.taskforce.dask import DaskTaskForce
from laila.taskforce.processes import ProcessTaskForce
from servers.dask import DaskServers

SECRET = "what the workers' environment has"
ANY = "5f0c9d5e-33ce-4e0a-9a52-3a8a0c1f7a11"  # a task force
OTHER = "another one, of more than 22 characters"
VARIABLES = {
    "LAILA_TCPIP_PEER_SECRET_KEY": SECRET,
    "LAILA_ENCRYPTION_KEY": "e" * 40,
    # On a machine that is busy, nobody is given up who is only slow.
    "LAILA_TCPIP_CONNECT_TIMEOUT": "100",
    "LAILA_TCPIP_HEARTBEAT_TIMEOUT": "100",
}
IMPATIENT = {
    "LAILA_TCPIP_CONNECT_TIMEOUT": "3",
    "LAILA_TCPIP_HEARTBEAT": "0.5",
    "LAILA_TCPIP_HEARTBEAT_TIMEOUT": "3",
}
"""What a worker has that is to find out by itself that nobody answers."""
MakeTaskForce = Callable[..., TaskForce]


@pytest.fixture(scope="module")
def variables() -> Iterator[None]:
    """What every worker of these tests has in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(variables: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskServers]:
    """A scheduler and two workers, processes of their own."""
    importable = {"PYTHONPATH": str(Path(__file__).parent), "PYTHONFAULTHANDLER": "1"}
    with DaskServers(tmp_path_factory.mktemp("dask"), 2, importable) as servers:
        yield servers


@pytest.fixture(scope="module", params=["processes", "dask"])
def make_taskforce(request: pytest.FixtureRequest, variables: None) -> MakeTaskForce:
    """Each of the engines."""
    if request.param == "processes":
        return partial(ProcessTaskForce, 1)
    return partial(DaskTaskForce, request.getfixturevalue("cluster").address)


@pytest.fixture(scope="module")
def taskforce(make_taskforce: MakeTaskForce) -> Iterator[TaskForce]:
    """One for most tests: it serves whichever policy is active, and the workers stay."""
    with make_taskforce() as made:
        yield made


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    """The active policy; its alpha pool is in memory."""
    with laila.DefaultPolicy() as made:
        laila.activate_policy(made)
        yield made
    clear_policy()


def listen(policy: laila.DefaultPolicy, secret: str | None = None, **options: Any) -> Any:
    """Have a policy serve an address."""
    protocol = laila.DefaultTCPIPProtocol(peer_secret_key=secret, **options)
    policy.central.communication.add_connection(protocol)
    return protocol


def test_remember_and_memorize_in_the_submitters_memory(
    policy: laila.DefaultPolicy, taskforce: TaskForce
) -> None:
    """All verbs, by ids and nicknames, of constants, variables and manifests; it is the very pool."""
    listen(policy)
    policy.extend("memory://", pool_nickname="side")
    stored = laila.memorize(laila.constant([1, 2, 3])).wait()
    variable = laila.variable("first", nickname="evolving")
    laila.memorize(variable).wait()
    variable.evolve(data="second")
    laila.memorize(variable).wait()
    gone = laila.memorize(laila.constant("to be forgotten", nickname="gone")).wait()

    def work() -> dict[str, Any]:
        found = laila.remember(stored).wait()
        evolving = laila.remember(nickname="evolving", scope="ENTRY").wait()
        seen = {"data": found.data, "newest": evolving.data, "history": laila.history(evolving)}
        evolving.evolve(data="third")
        laila.memorize(evolving).wait()
        laila.memorize(
            [laila.constant(n, nickname=f"made {n}") for n in range(3)], pool_nickname="side"
        ).wait()
        laila.memorize(laila.Manifest({"leaf": laila.constant("leaf")}, nickname="tree")).wait()
        laila.forget(nickname="gone", scope="ENTRY").wait()
        pool = laila.memory.router.route()
        seen["there"] = [stored in pool, gone in pool]
        try:
            laila.remember(gone).wait()
        except EntryNotFoundError as error:
            seen["missing"] = error.key
        return seen

    assert taskforce.submit(work).wait(150) == {
        "data": [1, 2, 3],
        "newest": "second",
        "history": [0, 1],
        "there": [True, False],
        "missing": gone,
    }
    assert laila.remember(variable.global_id.rpartition("-")[0]).data == "third"
    made = laila.remember(nickname=["made 0", "made 1", "made 2"], scope="ENTRY", pool_nickname="side")
    assert [entry.data for entry in made.wait()] == [0, 1, 2]
    assert laila.remember(nickname="tree", scope="MANIFEST").wait().resolve()["leaf"].data == "leaf"
    assert laila.remember(gone, missing_ok=True).wait() is None
    assert not laila.peers, "a worker is nobody's peer: nothing of the submitter's is copied to it"


def test_conflicts_are_those_of_the_pool(policy: laila.DefaultPolicy, taskforce: TaskForce) -> None:
    """A constant is kept, an evolution taken once; what another has taken goes to the next one if asked."""
    listen(policy)
    laila.memorize([laila.constant(1, nickname="fixed"), laila.variable(1, nickname="moving")]).wait()

    def work() -> list[Any]:
        seen: list[Any] = []
        for entry in (laila.constant(2, nickname="fixed"), laila.variable(2, nickname="moving")):
            error = laila.runtime.exception(laila.memorize(entry))
            seen.append(type(error))
        laila.memorize(laila.constant(1, nickname="fixed")).wait()  # the same is no conflict
        laila.memorize(laila.constant(3, nickname="fixed"), overwrite=True).wait()
        laila.memorize(laila.variable(3, nickname="moving"), on_conflict="next").wait()
        return seen

    assert taskforce.submit(work).wait(150) == [ImmutableEntryError, EvolutionConflictError]
    assert laila.remember(nickname="fixed", scope="ENTRY").data == 3
    assert laila.history(nickname="moving") == [0, 1]


def test_results_memorized_there(policy: laila.DefaultPolicy, taskforce: TaskForce) -> None:
    """``memorize_to`` a pool in memory: the id comes back, the entry is here."""
    listen(policy)
    policy.extend("memory://", pool_nickname="results")
    tasks = [partial(laila.constant, bytes(1_000_000 + n)) for n in range(4)]
    keys = taskforce.submit(tasks, wait=True, memorize_to="results")
    sizes = [len(entry.data) for entry in laila.remember(keys, pool_nickname="results").wait()]
    assert sizes == [1_000_000 + n for n in range(4)]


def _remember(key: str, nickname: str | None = None) -> Any:
    return laila.remember(key, pool_nickname=nickname).wait().data


def test_without_a_protocol_it_is_refused_and_with_one_again_used(
    policy: laila.DefaultPolicy, taskforce: TaskForce
) -> None:
    """A protocol that comes and goes, and one that serves no address; the error says what to do."""
    key = laila.memorize(laila.constant("here")).wait()
    task = partial(_remember, key)
    communication = policy.central.communication
    with pytest.raises(PoolUnreachableError, match=r"memory of the process that submitted.*add_connection"):
        taskforce.submit(task).wait(150)
    communication.add_connection(laila.DefaultTCPIPProtocol(listen=False))
    with pytest.raises(PoolUnreachableError, match="add_connection"):
        taskforce.submit(task).wait(150)
    protocol = listen(policy)
    assert taskforce.submit(task).wait(150) == "here"
    communication.remove_connection(protocol)
    with pytest.raises(PoolUnreachableError, match="add_connection"):
        taskforce.submit(task).wait(150)


def test_a_connection_that_broke_is_made_again(
    policy: laila.DefaultPolicy, taskforce: TaskForce, tmp_path: Path
) -> None:
    """When it is next needed, for a write too."""
    protocol = listen(policy)
    laila.memorize(laila.constant(0, nickname="count")).wait()

    there, go = tmp_path / "there", tmp_path / "go"

    def work() -> list[int]:
        seen = [_named("count")]
        there.touch()
        while not go.exists():
            time.sleep(0.01)
        laila.memorize(laila.constant(1, nickname="after")).wait()
        return [*seen, _named("count")]

    future = taskforce.submit(work)
    _until(there.exists)
    links = protocol._registry._others  # the connections of workers
    for link in list(links):
        protocol._background.soon(link._connection.abort)
    _until(lambda: not links)
    go.touch()
    assert future.wait(150) == [0, 0]
    assert _named("after") == 1


def test_what_is_called_once_more(
    policy: laila.DefaultPolicy, variables: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a connection turns out to be broken: what does no harm twice; the rest works the next time."""
    monkeypatch.setattr("laila.offload.home._Caller.peer_left", lambda *_: None)  # nobody tells beforehand
    protocol = listen(policy)
    port = protocol.bound_port
    key = laila.memorize(laila.constant(0)).wait()

    def break_it() -> None:
        nonlocal protocol
        policy.central.communication.remove_connection(protocol)
        protocol = listen(policy, port=port)

    with policy_from_ticket(ticket_of(policy, ANY)) as there:
        memory = there.central.memory
        assert memory.remember(key).data == 0
        break_it()
        assert memory.remember(key).data == 0
        break_it()
        fixed = laila.constant(1, nickname="fixed")
        memory.memorize(fixed).wait()
        break_it()
        # What is there is asked for first, which does no harm twice, and tells of the broken connection.
        memory.memorize(laila.constant(2, nickname="fixed"), overwrite=True).wait()
        assert memory.remember(fixed).data == 2
        break_it()
        with pytest.raises(PoolUnreachableError, match="not connected"):
            memory.forget(fixed).wait()
        memory.forget(fixed).wait()
    assert laila.remember(fixed, missing_ok=True).wait() is None


def _named(nickname: str) -> Any:
    return laila.remember(nickname=nickname, scope="ENTRY").wait().data


def _until(done: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_secrets_and_roles(
    policy: laila.DefaultPolicy,
    make_taskforce: MakeTaskForce,
    taskforce: TaskForce,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shared only if asked, a secret says what workers may do; their own, here a wrong one, is tried once."""
    monkeypatch.delenv("LAILA_TCPIP_PEER_SECRET_KEY")
    protocol = listen(policy, secrets={OTHER: "read"})
    key = laila.memorize(laila.constant("read me")).wait()

    def work() -> list[str]:
        uses = (laila.remember(key), laila.remember(key), laila.memorize(laila.constant("write me")))
        return [
            f"{type(error).__name__}: {error}" if (error := laila.runtime.exception(use)) else "done"
            for use in uses
        ]

    with make_taskforce(share_secrets=True) as sharing:
        assert OTHER.encode() not in ticket_of(policy, sharing.uuid, share_secrets=True)
        first, second, refused = sharing.submit(work).wait(150)
    assert first == second == "done"
    assert refused.startswith("PoolUnreachableError")
    assert "needs the role 'write'" in refused
    assert "grants 'read'" in refused

    assert OTHER.encode() not in ticket_of(policy, taskforce.uuid)
    told = taskforce.submit(work).wait(150)
    assert all(one.startswith("PoolUnreachableError") and "the secret is wrong" in one for one in told)
    assert not any(SECRET in one or OTHER in one for one in [*told, refused])
    assert protocol.failed_handshakes == 1


def test_no_secret(policy: laila.DefaultPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with the ticket nor in the environment: the error says where it is looked for."""
    monkeypatch.delenv("LAILA_TCPIP_PEER_SECRET_KEY", raising=False)
    listen(policy, OTHER)
    with (
        policy_from_ticket(ticket_of(policy, ANY)) as there,
        pytest.raises(PoolUnreachableError, match=r"has no secret.*share_secrets=True"),
    ):
        there.central.memory.remember(nickname="x").wait()


def test_a_pool_is_neither_listed_nor_emptied_from_there(
    policy: laila.DefaultPolicy, taskforce: TaskForce
) -> None:
    """It says so, and seems not empty."""
    listen(policy)
    key = laila.memorize(laila.constant(1)).wait()

    def work() -> list[str]:
        pool = laila.memory.router.route()
        told = []
        for use in (lambda: list(pool.keys()), pool.empty, lambda: laila.MemoryPool() <= pool):
            try:
                use()
            except PoolUnreachableError as error:
                told.append(str(error))
        return told

    told = taskforce.submit(work).wait(150)
    assert ["listed" in one or "emptied" in one for one in told] == [True] * 3
    assert laila.remember(key).data == 1


def test_a_read_cache(policy: laila.DefaultPolicy, taskforce: TaskForce, tmp_path: Path) -> None:
    """In memory, it may hold what its origin lacks: refused, with advice; or the submitter's own."""
    common = policy.extend(f"hdf5://{tmp_path}/common.h5", pool_nickname="common")
    cache = policy.extend("memory://", pool_nickname="cache")
    cache << common
    in_cache = laila.memorize(laila.constant("cache alone"), pool_nickname="cache").wait()
    in_common = laila.memorize(laila.constant("common"), pool_nickname="common").wait()
    tasks = [partial(_remember, key, "cache") for key in (in_cache, in_common)]
    for task in tasks:
        with pytest.raises(PoolUnreachableError, match=r"laila\.tiers\(…\).*'common'"):
            taskforce.submit(task).wait(150)
    assert taskforce.submit(partial(_remember, in_common, "common")).wait(150) == "common"

    listen(policy)
    assert taskforce.submit(tasks).wait(150) == ["cache alone", "common"]
    assert in_common in cache, "it was kept on the way"

    def work() -> str:
        return str(laila.memorize(laila.constant("made"), pool_nickname="cache").wait())

    made = taskforce.submit(work).wait(150)
    assert made in cache
    assert made not in common, "a write goes where it is routed, as at home"


def test_a_pool_whose_class_only_the_submitter_has(policy: laila.DefaultPolicy, taskforce: TaskForce) -> None:
    """Is used through the submitter as one in memory is."""

    class Mine(laila.MemoryPool):
        """No plugin: nobody else could find this class."""

        durability = "process"  # type: ignore[assignment]

    policy.extend(Mine(nickname="mine"))
    listen(policy)
    key = laila.memorize(laila.constant("mine"), pool_nickname="mine").wait()
    assert taskforce.submit(partial(_remember, key, "mine")).wait(150) == "mine"


def test_a_file_of_the_submitters_host(
    policy: laila.DefaultPolicy, variables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is used through the submitter where the worker's host has it not; a chain before it as a whole."""
    policy.extend(laila.tiers("memory://", f"hdf5://{tmp_path}/a.h5"), pool_nickname="file")
    listen(policy)
    key = laila.memorize(laila.constant("in the file"), pool_nickname="file").wait()
    ticket = json.loads(ticket_of(policy, ANY).replace(b"a.h5", b"not there.h5"))
    ticket["host"] = "elsewhere"
    monkeypatch.setattr("laila.offload.home._LOOPBACK", ())  # this address is reached from there
    with policy_from_ticket(json.dumps(ticket).encode()) as there:
        assert there.central.memory.remember(key, pool_nickname="file").data == "in the file"
    assert [path.name for path in tmp_path.glob("*.h5")] == ["a.h5"]


def test_one_store_with_its_origin_in_memory(
    policy: laila.DefaultPolicy, taskforce: TaskForce, tmp_path: Path
) -> None:
    """A chain of which a later tier only the submitter has is used through the submitter as a whole."""
    listen(policy)
    origin = laila.MemoryPool()
    policy.extend(laila.tiers(f"hdf5://{tmp_path}/cache.h5", origin), pool_nickname="store")
    key = laila.memorize(laila.constant("kept"), pool_nickname="store").wait()
    assert taskforce.submit(partial(_remember, key, "store")).wait(150) == "kept"

    def work() -> str:
        return str(laila.memorize(laila.constant("made"), pool_nickname="store").wait())

    assert taskforce.submit(work).wait(150) in origin


def test_closing_waits_for_tasks_that_come_back(
    policy: laila.DefaultPolicy, make_taskforce: MakeTaskForce
) -> None:
    """What is queued when the policy is closed still finds its submitter."""
    policy.central.command.add_taskforce(make_taskforce())
    listen(policy)
    pool = policy.central.memory.alpha_pool

    def work(n: int) -> str:
        time.sleep(0.02)
        return str(laila.memorize(laila.constant(n)).wait())

    group = laila.command.submit([partial(work, n) for n in range(30)])
    assert isinstance(group, laila.GroupFuture)
    stored: list[str] = []
    group.add_callback("finished", lambda done: stored.extend(key for key in done.result if key in pool))
    policy.close()
    assert group.exceptions == []
    assert len(stored) == 30


SUBMITTER = """
import json, os, sys, time
from pathlib import Path
from types import SimpleNamespace
import laila
from laila.errors import PoolUnreachableError
from laila.taskforce import DaskTaskForce, ProcessTaskForce
folder, kind, address = sys.argv[1:]
laila.command.add_taskforce(ProcessTaskForce(1) if kind == "processes" else DaskTaskForce(address))
laila.communication.add_connection(laila.DefaultTCPIPProtocol())
key = laila.memorize(laila.constant("while it lives")).wait()

def work():
    if kind == "processes":
        # A worker ends half a second after its submitter, before a task on a busy machine may be done.
        from laila.taskforce.processes import child
        parent = os.getppid()
        child.os = SimpleNamespace(**{**vars(os), "getppid": lambda: parent})
    seen = []
    while not seen:
        try:
            seen.append(laila.remember(key).data)
        except PoolUnreachableError:
            pass  # it was slow
    Path(folder, "there").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    for use in (lambda: laila.remember(key), lambda: laila.memorize(laila.constant(1))):
        begun = time.monotonic()
        error = laila.runtime.exception(use())
        seen.append([type(error).__name__, str(error), time.monotonic() - begun])
    Path(folder, "told.part").write_text(json.dumps(seen))
    Path(folder, "told.part").rename(Path(folder, "told"))

laila.command.submit(work)
print("submitted", flush=True)
time.sleep(280)
"""


@pytest.mark.parametrize(
    ("kind", "how"),
    [("processes", signal.SIGKILL), ("dask", signal.SIGKILL), ("processes", signal.SIGSTOP)],
    ids=["processes-killed", "dask-killed", "processes-stopped"],
)
def test_a_submitter_that_is_gone(
    kind: str, how: signal.Signals, variables: None, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A task that still runs gets a clear error, in bounded time, also when the submitter says nothing."""
    address = "" if kind == "processes" else request.getfixturevalue("cluster").address
    submitter = subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, str(tmp_path), kind, address],
        env={**os.environ, **(IMPATIENT if how is signal.SIGSTOP else {})},
    )
    try:
        _until(Path(tmp_path, "there").exists, 100)
        submitter.send_signal(how)
        if how is signal.SIGKILL:
            submitter.wait()
        else:
            os.waitpid(submitter.pid, os.WUNTRACED)  # until it has stopped
        Path(tmp_path, "go").touch()
        _until(Path(tmp_path, "told").exists, 150)
    finally:
        submitter.kill()
        submitter.wait()
    read, *told = json.loads(Path(tmp_path, "told").read_text())
    assert read == "while it lives"
    assert len(told) == 2
    for kind_of, message, seconds in told:
        assert kind_of == "PoolUnreachableError"
        assert "reaching it through that process failed" in message
        assert seconds < 75


def test_a_submitter_on_another_host(variables: None) -> None:
    """That listens on its own host alone is not tried; the error says what to do there."""
    with laila.DefaultPolicy() as policy:
        listen(policy)
        ticket = json.loads(ticket_of(policy, ANY))
        ticket["host"] = "elsewhere"
        with (
            policy_from_ticket(json.dumps(ticket).encode()) as there,
            pytest.raises(PoolUnreachableError, match=r"on the host elsewhere alone.*host="),
        ):
            there.central.memory.remember(nickname="x").wait()


def test_another_policy_at_the_same_address(variables: None) -> None:
    """Is not taken for the submitter, even if it knows the secret."""
    with laila.DefaultPolicy() as policy, laila.DefaultPolicy() as another:
        protocol = listen(policy)
        ticket = ticket_of(policy, ANY)
        port = protocol.bound_port
        policy.central.communication.remove_connection(protocol)
        listen(another, port=port)
        with (
            policy_from_ticket(ticket) as there,
            pytest.raises(PoolUnreachableError, match="another policy answers"),
        ):
            there.central.memory.remember(nickname="x").wait()
