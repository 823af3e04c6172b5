"""kill -9 of the writer, or of its server: what was acknowledged is there, the rest whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import laila
from laila.errors import LailaError
from laila.tiering.verifying import verify_pool
from torture.report import Options, Report
from torture.workload import State, look, operation, run

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torture.stores import Address, Store

__all__ = ["crash"]

ROUNDS_PER_STORE = 25
LONGEST_SECONDS = 0.4
_context = multiprocessing.get_context("forkserver")


def crash(store: Store, options: Options) -> Report:
    """Kill a writer, or the server that it writes to, in each round; then look at the store."""
    _context.set_forkserver_preload(["torture.crash", "torture.stores", "laila.pool.files", "laila.pool.s3"])
    report = Report("crash", store.kind, options.seed)
    chance = random.Random(options.seed)
    state: State = {}
    address = store.fresh()
    end = time.monotonic() + options.seconds
    for number in range(options.rounds):
        if time.monotonic() > end:
            break
        if number % ROUNDS_PER_STORE == 0:
            address, state = store.fresh(), {}
        state = one_round(store, address, state, options.seed * 1_000_003 + number, chance, report)
        report.counts["rounds"] += 1
    return report


def one_round(
    store: Store, address: Address, state: State, seed: int, chance: random.Random, report: Report
) -> State:
    """Let a writer write, kill, and look. Returns what the store holds now."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_write, args=(address, seed, theirs), daemon=True)
    process.start()
    theirs.close()
    assert process.pid is not None
    done = _read_some(ours, chance.random() ** 2 * LONGEST_SECONDS)
    if store.server is not None and chance.random() < 0.1:
        store.restart_server()
        report.counts["servers killed"] += 1
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done += _read_rest(ours)
    report.counts["acknowledged"] += done
    for number in range(done):
        state = operation(seed, number).apply(state)
    pending = operation(seed, done)
    after = pending.apply(state)
    with laila.DefaultPolicy(alpha_pool=address.open()) as policy:
        try:
            actual = look(policy.central.memory)
            verified = verify_pool(policy.central.memory.router.alpha_pool)
        except LailaError as error:
            report.wrong.append(f"round {report.counts['rounds']}: {error}")
            return state
    for key in verified.damaged:
        report.wrong.append(f"round {report.counts['rounds']}: {key} is damaged")
    for name in state.keys() | after.keys() | actual.keys():
        allowed = (state.get(name), after.get(name))
        if actual.get(name) not in allowed:
            report.wrong.append(f"round {report.counts['rounds']}: {name} is neither as before nor as after")
    if actual == after != state:
        report.counts["unacknowledged but whole"] += 1
    return actual


def _write(address: Address, seed: int, pipe: Connection) -> None:
    """Do the operations of a seed for ever, and tell of each that is done."""
    policy = laila.DefaultPolicy(alpha_pool=address.open())
    number = 0
    while True:
        run(operation(seed, number), policy.central.memory)
        pipe.send_bytes(b".")
        number += 1


def _read_some(pipe: Connection, seconds: float) -> int:
    """Wait for the first acknowledgement, then for the given time; return 1."""
    pipe.recv_bytes()
    time.sleep(seconds)
    return 1


def _read_rest(pipe: Connection) -> int:
    """Return how many acknowledgements are left, and close the pipe."""
    count = 0
    with suppress(EOFError):
        while pipe.recv_bytes():
            count += 1
    pipe.close()
    return count
