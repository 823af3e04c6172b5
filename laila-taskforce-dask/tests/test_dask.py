"""What is particular to Dask: clusters and clients, workers and schedulers that end, waiting inside tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from distributed import Client, LocalCluster

import laila
from laila.active import clear_policy
from laila.errors import InvalidArgumentError, InvalidTaskError, PoolUnreachableError, WorkerLostError
from laila.taskforce.dask import DaskTaskForce
from servers.dask import DaskServers

T = TypeVar("T")


@pytest.fixture
def policy(cluster: LocalCluster, tmp_path: Path) -> Iterator[laila.DefaultPolicy]:
    """The active policy: its alpha pool is a file, its alpha task force the cluster."""
    taskforce = DaskTaskForce(cluster.scheduler_address)
    with laila.DefaultPolicy(taskforce=taskforce) as policy:
        laila.activate_policy(policy)
        alpha = policy.extend(f"hdf5://{tmp_path}/alpha.h5", pool_nickname="alpha")
        policy.central.memory.alpha_pool = alpha
        policy.extend("memory://", pool_nickname="memory")
        yield policy
    clear_policy()


def group(future: laila.Future[T] | laila.GroupFuture[T]) -> laila.GroupFuture[T]:
    """What several tasks give."""
    assert isinstance(future, laila.GroupFuture)
    return future


def until(done: Callable[[], object], what: str) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + 150
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_client_stays_its_owners(cluster: LocalCluster) -> None:
    """It is used, with whatever security it has, and not closed."""
    with Client(cluster, set_as_default=False) as client:
        with DaskTaskForce(client) as taskforce:
            assert taskforce.submit(partial(pow, 2, 5)).wait(150) == 32
            assert taskforce.client == client
            assert taskforce.options()["address"] == cluster.scheduler_address
        assert client.submit(pow, 2, 6).result(timeout=200) == 64


def test_what_is_no_cluster() -> None:
    """Is refused at once."""
    with pytest.raises(InvalidArgumentError, match="address or by a Client"):
        DaskTaskForce(8786)  # type: ignore[arg-type]


def run(program: str) -> tuple[list[int], str]:
    """Run a program that prints ids of processes; return them, and its stderr, once the program has ended."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return [int(pid) for pid in done.stdout.split()], done.stderr


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"], ids=["at exit", "killed"])
def test_a_local_cluster_ends_with_its_submitter(end: str) -> None:
    """Without an address one is begun, by a plain script; its processes are gone with the submitter."""
    pids, errors = run(
        "import os\nfrom laila.taskforce import DaskTaskForce\n"
        "with DaskTaskForce(workers=1) as taskforce:\n"
        "    print(taskforce.submit(lambda: os.getpid()).wait(150), flush=True)\n"
        "left = DaskTaskForce(workers=2)\n"
        f"print(*{{*left.submit([os.getpid, os.getppid] * 20).wait(150)}}, flush=True)\n{end}\n"
    )
    assert len(pids) >= 3, errors
    assert errors == "" or end
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "workers outlive their submitter")


def test_a_local_cluster_that_closes_says_nothing() -> None:
    """Nor does what is left in its event loop: Dask logs connections that go while it closes them."""
    _, errors = run(
        "import asyncio, logging\nfrom laila.taskforce import DaskTaskForce\n"
        "async def linger():\n"
        "    try:\n        await asyncio.sleep(60)\n"
        "    finally:\n        logging.getLogger('distributed.batched').info('Batched Comm Closed')\n"
        "with DaskTaskForce(workers=1) as taskforce:\n"
        "    taskforce.submit(lambda: 1).wait(150)\n"
        "    asyncio.run_coroutine_threadsafe(linger(), taskforce._cluster.loop.asyncio_loop)\n"
        "logging.getLogger('distributed.batched').info('after it')\n"
    )
    assert errors.endswith("after it\n")
    assert len(errors.splitlines()) == 1


@pytest.mark.usefixtures("policy")
def test_the_policy_is_in_the_workers() -> None:
    """Pools, references, ``memorize_to``; a pool in memory says why not."""
    entry = laila.constant(bytes(2_000_000))
    laila.memorize(entry).wait()
    in_memory = laila.memorize(laila.constant(1), pool_nickname="memory").wait()

    def work() -> tuple[int, str]:
        made = laila.memorize(laila.constant("made there")).wait()
        return len(entry.data), str(made)

    size, made = laila.command.submit(work).wait(150)
    assert size == 2_000_000
    assert laila.remember(made).data == "made there"
    kept = laila.command.submit(lambda: laila.constant("kept there"), memorize_to="alpha").wait(150)
    assert laila.remember(kept).data == "kept there"
    with pytest.raises(PoolUnreachableError):
        laila.command.submit(lambda: laila.remember(in_memory, pool_nickname="memory").wait()).wait(150)


def test_what_cannot_be_sent_is_refused_with_its_name(policy: laila.DefaultPolicy) -> None:
    """At once."""

    def with_a_policy() -> object:
        return policy

    with pytest.raises(InvalidTaskError, match="with_a_policy cannot be sent"):
        laila.command.submit(with_a_policy)


@pytest.mark.usefixtures("policy")
def test_a_task_that_waits_gives_its_place_to_others(tmp_path: Path) -> None:
    """More tasks than there are threads wait, each for tasks of its own on the same cluster."""

    def outer(n: int) -> list[int]:
        return group(laila.command.submit([partial(pow, n, 2), partial(pow, n, 3)])).wait()

    assert laila.command.submit([partial(outer, n) for n in range(8)]).wait(150) == [
        [n**2, n**3] for n in range(8)
    ]


def test_a_task_may_wait_for_what_its_worker_does_next(cluster: LocalCluster, tmp_path: Path) -> None:
    """Twice as many tasks as threads wait for what comes after them: a waiter takes no thread."""
    gate = tmp_path / "gate"

    def open_gate() -> None:
        gate.touch()

    def wait_in_a_task() -> bool:
        laila.command.submit(open_gate).wait(150)
        return gate.exists()

    with laila.DefaultPolicy(taskforce=DaskTaskForce(cluster.scheduler_address)) as policy:
        laila.activate_policy(policy)
        assert laila.command.submit([wait_in_a_task] * 4).wait(150) == [True] * 4
    clear_policy()


def test_retries(cluster: LocalCluster, tmp_path: Path) -> None:
    """A task whose worker died is started again as often as was asked for."""
    runs = tmp_path / "runs"

    def die_once() -> int:
        with runs.open("a") as file:
            file.write("x")
        if runs.stat().st_size == 1:
            os._exit(3)
        return runs.stat().st_size

    with DaskTaskForce(cluster.scheduler_address, retries=1) as taskforce:
        assert taskforce.submit(die_once).wait(150) == 2


def test_a_killed_worker_loses_nothing_that_was_memorized(
    policy: laila.DefaultPolicy, tmp_path: Path
) -> None:
    """In mid-run: every task is done, or fails by name; each ran once; what was memorized is there."""
    notes = tmp_path / "notes"
    notes.mkdir()

    def step(n: int) -> str:
        with (notes / str(n)).open("a") as file:
            file.write(f"{os.getpid()}\n")
        stored = laila.memorize(laila.constant(n, nickname=f"step {n}")).wait()
        time.sleep(0.01)
        return str(stored)

    steps = group(policy.central.command.submit([partial(step, n) for n in range(60)]))
    begun = notes / "15"
    until(lambda: begun.exists() and begun.read_text(), "tasks run")
    os.kill(int(begun.read_text()), signal.SIGKILL)
    lost = 0
    for n, future in enumerate(steps.futures()):
        error = laila.runtime.exception(future)
        if error is None:
            assert laila.remember(future.result).data == n
        else:
            assert isinstance(error, WorkerLostError)
            assert "step" in error.task
            lost += 1
        assert len((notes / str(n)).read_text().splitlines()) == 1
    assert lost < 20  # those that ran there: while they wait for a pool, others begin
    assert laila.command.submit(partial(pow, 2, 3)).wait(150) == 8


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DaskServers]:
    """A scheduler and a worker for one test alone."""
    with DaskServers(tmp_path) as servers:
        yield servers


def test_a_restarted_scheduler(own: DaskServers, tmp_path: Path) -> None:
    """What it had fails by name, what waited is done after it is back, what was memorized is there."""
    with laila.DefaultPolicy(taskforce=DaskTaskForce(own.address, ahead=4)) as policy:
        laila.activate_policy(policy)
        policy.central.memory.alpha_pool = f"hdf5://{tmp_path}/alpha.h5"

        def step(n: int) -> int:
            while n > 8 and not (tmp_path / "back").exists():
                time.sleep(0.01)
            laila.memorize(laila.constant(n, nickname=f"step {n}")).wait()
            (tmp_path / f"done {n}").touch()
            return n

        steps = group(laila.command.submit([partial(step, n) for n in range(30)]))
        until(lambda: (tmp_path / "done 5").exists(), "tasks run")
        own.kill()
        (tmp_path / "back").touch()
        own.start()
        errors = {n: laila.runtime.exception(future) for n, future in enumerate(steps.futures())}
        lost = {n for n, error in errors.items() if error is not None}
        assert {type(errors[n]) for n in lost} == {WorkerLostError}
        assert 1 <= len(lost) <= 5
        assert max(lost) < 29
        for n in range(30):
            if (tmp_path / f"done {n}").exists():
                assert laila.remember(nickname=f"step {n}").data == n
        assert laila.command.submit(partial(step, 31)).wait(150) == 31
    clear_policy()
