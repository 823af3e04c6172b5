"""Full disks, failing system calls and lying servers: an error is told, and what was stored stays."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import laila
from laila.errors import LailaError
from torture.liar import Liar
from torture.report import Options, Report
from torture.workload import State, look, operation, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from torture.stores import Address, Store

__all__ = ["compare", "faults"]

_context = multiprocessing.get_context("forkserver")
_OPERATIONS = 30
_FAILING = ("fsync", "fdatasync", "write", "pwrite", "writev", "rename", "replace", "link", "ftruncate")


def faults(store: Store, options: Options) -> Report:
    """Let operations run into faults; what they said they did must be there, and nothing else wrong."""
    report = Report("faults", store.kind, options.seed)
    end = time.monotonic() + options.seconds
    chance = random.Random(options.seed)
    for number in range(options.rounds):
        if time.monotonic() > end:
            break
        seed = options.seed * 1_000_003 + number
        if store.server is not None:
            _lies(store, seed, report)
        else:
            kind = chance.choice(("full disk", "failing call"))
            _local(store.fresh(), kind, seed, report)
            report.counts[kind] += 1
    return report


def _local(address: Address, kind: str, seed: int, report: Report) -> None:
    """Do operations in a process whose disk is full or whose system calls fail; then look."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_suffer, args=(address, kind, seed, theirs))
    process.start()
    theirs.close()
    outcomes: list[str] = []
    try:
        outcomes = ours.recv()
    except EOFError:
        report.wrong.append(f"seed {seed}: the process ended with {process.exitcode}")
    process.join()
    report.counts["errors told"] += sum(text != "" for text in outcomes)
    compare(address, seed, outcomes, report)


def _suffer(address: Address, kind: str, seed: int, pipe: Connection) -> None:
    """Send what became of each operation: empty where it said that it was done, else the error."""
    chance = random.Random(seed)
    if kind == "full disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = chance.randrange(20_000, 600_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    else:
        _let_calls_fail(chance)
    outcomes = []
    try:
        policy = laila.DefaultPolicy(alpha_pool=address.open())
    except (LailaError, OSError) as error:
        pipe.send([str(error)])
        os._exit(0)
    for number in range(_OPERATIONS):
        try:
            run(operation(seed, number), policy.central.memory)
            outcomes.append("")
        except (LailaError, OSError) as error:
            outcomes.append(f"{type(error).__name__}: {error}"[:300])
    pipe.send(outcomes)
    os._exit(0)  # as a process that dies does: nothing is mended at the end


def _let_calls_fail(chance: random.Random) -> None:
    """Have one call of the system in twenty-five fail from now on."""

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **more: Any) -> Any:
            if chance.random() < 0.04:
                raise OSError(chance.choice((errno.EIO, errno.ENOSPC)), "a fault on purpose")
            return call(*args, **more)

        return do

    for name in _FAILING:
        setattr(os, name, failing(getattr(os, name)))


def _states(seed: int, outcomes: list[str]) -> Iterator[tuple[str, set[bytes | None]]]:
    """For each name, what it may hold: what the last success left, or any later failure may have done."""
    state: State = {}
    may: dict[str, set[bytes | None]] = {}
    for number, error in enumerate(outcomes):
        what = operation(seed, number)
        after = what.apply(state)
        for name in what.names:
            if error:
                may.setdefault(name, {state.get(name)}).add(after.get(name))
            else:
                may[name] = {after.get(name)}
        # A failed operation may have happened: the next one on the same name decides again.
        if not error:
            state = after
    yield from may.items()


def compare(address: Address, seed: int, outcomes: list[str], report: Report) -> None:
    """Compare what is there with what was told."""
    report.counts["acknowledged"] += outcomes.count("")
    try:
        with laila.DefaultPolicy(alpha_pool=address.open()) as policy:
            actual = look(policy.central.memory)
    except (LailaError, OSError) as error:
        report.wrong.append(f"seed {seed}: {error}")
        return
    for name, allowed in _states(seed, outcomes):
        if actual.get(name) not in allowed:
            report.wrong.append(f"seed {seed}: {name} is neither as before nor as after")


def _lies(store: Store, seed: int, report: Report) -> None:
    """Talk to the server through a proxy that lies; then look at it without the proxy."""
    address = store.fresh()
    port = store.server.port  # type: ignore[union-attr]  # it is a store with a server
    with Liar(port, seed, 0.02) as liar:
        through = _through(address, port, liar.port)
        outcomes = []
        with laila.DefaultPolicy(alpha_pool=through.open()) as policy:
            memory = policy.central.memory
            for number in range(_OPERATIONS):
                try:
                    run(operation(seed, number), memory)
                    outcomes.append("")
                except (LailaError, OSError) as error:
                    outcomes.append(str(error))
            report.counts["reads"] += _read(memory, seed, outcomes, report)
        report.counts["lies"] += liar.told
    report.counts["errors told"] += sum(text != "" for text in outcomes)
    compare(address, seed, outcomes, report)


def _through(address: Address, port: int, other: int) -> Address:
    """Return the address with another port."""
    options = {
        name: value.replace(f":{port}", f":{other}") if isinstance(value, str) else value
        for name, value in address.options
    }
    options |= (
        {"retry_for": 2.0, "timeout": 2.0} if address.kind == "redis" else {"deadline": 6.0, "timeout": 2.0}
    )
    return replace(
        address, place=address.place.replace(f":{port}", f":{other}"), options=tuple(options.items())
    )


def _read(memory: Any, seed: int, outcomes: list[str], report: Report) -> int:
    """Read each name through the proxy: it is right, or an error."""
    count: Counter[str] = Counter()
    for name, allowed in _states(seed, outcomes):
        try:
            actual = look(memory, [name]).get(name)
        except (LailaError, OSError):
            continue
        count["reads"] += 1
        if actual not in allowed:
            report.wrong.append(f"seed {seed}: {name} was read wrong through the proxy")
    return count["reads"]
