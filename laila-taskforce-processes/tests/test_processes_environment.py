"""The submitter's policy in worker processes: pools, routing, references, and what cannot be reached."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import laila
from laila.active import clear_policy
from laila.errors import (
    FutureResultError,
    NoActivePolicyError,
    PoolNotFoundError,
    PoolUnreachableError,
    WorkerLostError,
)
from laila.offload.ticket import reachable_pools
from laila.taskforce.processes import ProcessTaskForce


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessTaskForce]:
    """One worker pool for all tests, of one worker: it stays while policies come and go."""
    with ProcessTaskForce(1) as taskforce:
        yield taskforce


def make_policy(folder: Path) -> laila.DefaultPolicy:
    """A policy whose alpha pool is a file, beside another one and a pool in memory."""
    policy = laila.DefaultPolicy()
    policy.central.memory.alpha_pool = f"hdf5://{folder}/alpha.h5"
    policy.extend(f"hdf5://{folder}/results.h5", pool_nickname="results")
    policy.extend("memory://", pool_nickname="memory")
    return policy


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[laila.DefaultPolicy]:
    with make_policy(tmp_path) as policy:
        laila.activate_policy(policy)
        yield policy
    clear_policy()


@pytest.mark.usefixtures("policy")
def test_remember_and_memorize_in_a_task(processes: ProcessTaskForce) -> None:
    """A task finds what its submitter stored, and the submitter what the task stored."""
    stored = laila.memorize(laila.constant([1, 2, 3])).wait()

    def work() -> str:
        numbers = laila.remember(stored).data
        return str(laila.memorize(laila.constant(sum(numbers)), pool_nickname="results").wait())

    made = processes.submit(work).wait(150)
    assert laila.remember(made, pool_nickname="results").data == 6


def test_each_task_acts_through_the_policy_that_submitted_it(
    processes: ProcessTaskForce, tmp_path: Path
) -> None:
    """Two policies share a worker, and neither sees what is the other's."""
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        with make_policy(tmp_path / name) as policy:
            laila.activate_policy(policy)
            laila.memorize(laila.constant(name, nickname=name), overwrite=True).wait()
            missing = "two" if name == "one" else "one"
            both = [partial(_data_of, name), partial(_data_of, missing)]
            assert processes.submit(both).wait(150) == [name, None]
    clear_policy()


def _data_of(nickname: str) -> object:
    found = laila.remember(nickname=nickname, missing_ok=True).wait()
    return None if found is None else found.data


def test_what_is_added_to_the_policy_later_is_there(
    policy: laila.DefaultPolicy, processes: ProcessTaskForce, tmp_path: Path
) -> None:
    """The workers that have the policy already get the change."""
    before = processes.submit(lambda: list(laila.memory.router.nicknames)).wait(150)
    assert before == ["results", "memory"]
    policy.extend(f"hdf5://{tmp_path}/late.h5", pool_nickname="late")
    stored = laila.memorize(laila.constant("late"), pool_nickname="late").wait()
    assert processes.submit(lambda: laila.remember(stored, pool_nickname="late").data).wait(150) == "late"


@pytest.mark.usefixtures("policy")
def test_a_restarted_worker_gets_it_again(processes: ProcessTaskForce) -> None:
    """And what its predecessor had memorized is there."""

    def store_and_die() -> None:
        laila.memorize(laila.constant("kept", nickname="kept")).wait()
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLostError):
        processes.submit(store_and_die).wait(150)
    assert processes.submit(partial(_data_of, "kept")).wait(150) == "kept"


@pytest.mark.usefixtures("policy")
def test_a_task_ends_when_what_it_began_has_ended(processes: ProcessTaskForce) -> None:
    """A memorize that a task does not wait for is stored when the task is done; one that fails, fails it."""

    def leave_it() -> None:
        laila.memorize(laila.constant(7, nickname="left"))

    def leave_it_wrong() -> None:
        laila.memorize(laila.constant(7), pool_nickname="memory")

    processes.submit(leave_it).wait(150)
    assert laila.remember(nickname="left").data == 7
    with pytest.raises(PoolUnreachableError):
        processes.submit(leave_it_wrong).wait(150)


@pytest.mark.usefixtures("policy")
def test_a_pool_in_memory_is_refused_and_never_empty(processes: ProcessTaskForce) -> None:
    """Reading, writing, listing and asking all say why; the error comes back with its parts."""
    key = laila.memorize(laila.constant(1), pool_nickname="memory").wait()

    def uses() -> list[str]:
        pool = laila.memory.router.route(pool_nickname="memory")
        told = []
        for use in (
            lambda: laila.remember(key, pool_nickname="memory").wait(),
            lambda: laila.memorize(laila.constant(2), pool_nickname="memory").wait(),
            lambda: laila.forget(key, pool_nickname="memory").wait(),
            lambda: laila.history(key, pool_nickname="memory"),
            lambda: pool.exists(key),
            lambda: list(pool.keys()),
            pool.empty,
        ):
            try:
                use()
            except PoolUnreachableError as error:
                told.append(str(error))
        return told

    told = processes.submit(uses).wait(150)
    assert len(told) == 7
    assert all("'memory'" in one and "memory of the process that submitted" in one for one in told)
    error = laila.runtime.exception(
        processes.submit(lambda: laila.remember(key, pool_nickname="memory").wait())
    )
    assert isinstance(error, PoolUnreachableError)
    assert error.pool == "memory"


def test_a_pool_of_no_plugin_is_refused(policy: laila.DefaultPolicy, processes: ProcessTaskForce) -> None:
    """Its tasks run all the same, as long as they do not need it."""

    class Mine(laila.MemoryPool):
        """Nobody else could find this class."""

        durability = "process"  # type: ignore[assignment]

    policy.extend(Mine(nickname="mine"))
    assert processes.submit(partial(pow, 2, 3)).wait(150) == 8
    with pytest.raises(PoolUnreachableError, match="no registered plugin"):
        processes.submit(lambda: laila.remember(nickname="x", pool_nickname="mine").wait()).wait(150)


@pytest.mark.usefixtures("policy")
def test_entries_travel_as_references(processes: ProcessTaskForce) -> None:
    """What is stored where the task can reach it is remembered there; its payload does not pass the pipe."""
    big = laila.constant(bytes(10_000_000), nickname="big")
    laila.memorize(big, pool_nickname="results").wait()
    found = laila.remember(nickname="big", pool_nickname="results").wait()
    variable = laila.variable([1], nickname="evolving")
    laila.memorize(variable).wait()
    variable.evolve(data=[1, 2])
    laila.memorize(variable).wait()
    for entry in (big, found):
        task = laila.contract.Task(partial(_sizes, [entry], other=entry))
        parcel = processes._pack(task, b"", reachable_pools(laila.active_policy))
        assert len(parcel.shipment.work) < 10_000
        assert [key for key, _ in parcel.shipment.references] == [big.global_id]
        assert processes.submit(partial(_sizes, [entry], other=entry)).wait(150) == [10_000_000] * 2
    assert processes.submit(lambda: len(variable.data)).wait(150) == 2  # also out of a closure


def _sizes(entries: list[laila.Entry], other: laila.Entry) -> list[int]:
    return [len(entry.data) for entry in [*entries, other]]


@pytest.mark.usefixtures("policy")
def test_entries_that_no_other_process_can_reach_travel_whole(processes: ProcessTaskForce) -> None:
    """Not stored yet, changed since, or in memory: their payload is what the task gets."""
    fresh = laila.constant([1])
    in_memory = laila.constant([2])
    laila.memorize(in_memory, pool_nickname="memory").wait()
    evolved = laila.variable([3])
    laila.memorize(evolved).wait()
    evolved.evolve(data=[4])
    entries = [fresh, in_memory, evolved]
    assert processes.submit(lambda: [entry.data for entry in entries]).wait(150) == [[1], [2], [4]]


@pytest.mark.usefixtures("policy")
def test_a_reference_to_what_was_deleted(processes: ProcessTaskForce) -> None:
    """The task fails with the error that remember gives."""
    entry = laila.constant(1)
    laila.memorize(entry).wait()
    laila.forget(entry).wait()
    with pytest.raises(laila.errors.EntryNotFoundError):
        processes.submit(partial(_sizes, [], other=entry)).wait(150)


@pytest.mark.usefixtures("policy")
def test_what_is_returned_may_be_memorized_there(processes: ProcessTaskForce) -> None:
    """Only the ids come back: of an entry, of a list, of each task of several."""
    one = processes.submit(lambda: laila.constant("one"), memorize_to="results").wait(150)
    assert laila.remember(one, pool_nickname="results").data == "one"
    both = [lambda: [laila.constant("a"), laila.constant("b")], lambda: laila.variable("c")]
    several, last = processes.submit(both, wait=True, memorize_to="results")
    assert [entry.data for entry in laila.remember([*several, last], pool_nickname="results").wait()] == [
        *"abc"
    ]
    with pytest.raises(FutureResultError, match="returned a int"):
        processes.submit(int, memorize_to="results").wait(150)
    with pytest.raises(PoolNotFoundError, match="nowhere"):
        processes.submit(int, memorize_to="nowhere")


def test_what_a_task_submits_runs_in_its_own_process(policy: laila.DefaultPolicy) -> None:
    """By the id of the task force, too; one worker is enough."""
    name = policy.central.command.add_taskforce(ProcessTaskForce(1), alpha=True)

    def outer() -> list[int]:
        inner = [os.getpid] * 3
        return [
            os.getpid(),
            *laila.command.map(inner),
            *laila.command.map(inner, taskforce_id=name),
        ]

    pids = policy.central.command.submit(outer).wait(150)
    assert len(pids) == 7
    assert set(pids) == {pids[0]}
    assert pids[0] != os.getpid()


def test_verbs_stay_in_this_process(policy: laila.DefaultPolicy) -> None:
    """A policy whose alpha task force is one of processes does its verbs on threads."""
    processes = ProcessTaskForce(1)
    policy.central.command.add_taskforce(processes, alpha=True)
    processes.pause()
    assert laila.memorize(laila.constant(1)).wait(150)
    processes.start()


def test_a_task_without_a_policy(processes: ProcessTaskForce) -> None:
    """It is told so, rather than given an empty one."""
    clear_policy()
    with pytest.raises(NoActivePolicyError, match="without an active policy"):
        processes.submit(lambda: laila.remember(nickname="x")).wait(150)
    assert processes.submit(int).wait(150) == 0
