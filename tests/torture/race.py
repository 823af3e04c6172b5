"""Many processes write the same names: one winner each, no lost update, no torn read."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import laila
from laila.active import only_here
from laila.errors import EntryNotFoundError, EvolutionConflictError, ImmutableEntryError, LailaError
from torture.report import Options, Report

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from torture.stores import Address, Store

__all__ = ["race"]

PROCESSES = 8
_context = multiprocessing.get_context("forkserver")

Outcome = tuple[Counter[str], dict[str, int], list[str]]


def race(store: Store, options: Options) -> Report:
    """Let eight processes write ``rounds`` times each, and one look after the pool meanwhile."""
    _context.set_forkserver_preload(["torture.race", "torture.stores", "laila.pool.files", "laila.pool.s3"])
    report = Report("race", store.kind, options.seed)
    address = store.fresh()
    outcomes: Queue[Outcome] = _context.Queue()
    end = time.time() + options.seconds
    more = (options.seed, options.rounds, end, outcomes)
    writers = [_context.Process(target=_write, args=(address, who, *more)) for who in range(PROCESSES)]
    keeper = _context.Process(target=_look_after, args=(address, *more))
    for process in (*writers, keeper):
        process.start()
    won: Counter[str] = Counter()
    for _ in (*writers, keeper):
        counts, wins, wrong = outcomes.get()
        report.counts += counts
        won.update(wins)
        report.wrong += wrong
    for process in (*writers, keeper):
        process.join()
    _compare(address, won, report)
    return report


def _compare(address: Address, won: Counter[str], report: Report) -> None:
    """Each constant has one winner, and each variable as many evolutions as there were successes."""
    with laila.DefaultPolicy(alpha_pool=address.open()) as policy:
        memory = policy.central.memory
        for name, count in won.items():
            if name.startswith("constant"):
                if count != 1:
                    report.wrong.append(f"{name} has {count} winners")
                continue
            numbers = memory.history(nickname=name)
            if numbers != list(range(count)):
                report.wrong.append(f"{name}: {count} updates were acknowledged, {len(numbers)} are there")
                continue
            stem = laila.variable(0, nickname=name).global_id.rpartition("-")[0]
            entries: Any = memory.remember([f"{stem}-{number}" for number in numbers]).wait()
            if len({entry.data["by"] for entry in entries}) != count:
                report.wrong.append(f"{name}: an update was lost")


def _write(address: Address, who: int, seed: int, rounds: int, end: float, outcomes: Queue[Outcome]) -> None:
    """Write ``rounds`` times: constants that one process wins, and updates that all must count."""
    chance = random.Random(f"{seed}/{who}")
    counts: Counter[str] = Counter()
    won: dict[str, int] = {}
    wrong: list[str] = []
    with laila.DefaultPolicy(alpha_pool=address.open()) as policy:
        memory = policy.central.memory
        for number in range(rounds):
            if time.time() > end:
                break
            try:
                if chance.random() < 0.5:
                    name = f"constant-{chance.randrange(rounds)}"
                    payload = bytes([who]) * chance.choice((10, 5_000, 200_000))
                    try:
                        memory.memorize(laila.constant(payload, nickname=name)).wait()
                        # An equal content counts as written by both: who and size are the same only here.
                        won[name] = 1
                    except ImmutableEntryError:
                        counts["races lost"] += 1
                    held: Any = memory.remember(nickname=name).wait()
                    counts["reads"] += 1
                    if len(set(held.data)) != 1:
                        wrong.append(f"{name} was read torn")
                else:
                    name = f"variable-{chance.randrange(5)}"
                    update = laila.variable({"by": (who, number)}, nickname=name)
                    memory.memorize(update, on_conflict="next").wait()
                    won[name] = won.get(name, 0) + 1
                counts["writes"] += 1
            except EvolutionConflictError:
                counts["conflicts told"] += 1
            except LailaError as error:
                wrong.append(f"writer {who}: {type(error).__name__}: {error}")
    outcomes.put((counts, won, wrong))


def _look_after(address: Address, seed: int, rounds: int, end: float, outcomes: Queue[Outcome]) -> None:
    """Collect, verify, compact, expire and list, until the writers are done."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    chance = random.Random(seed)
    with laila.DefaultPolicy(alpha_pool=address.open()) as policy, only_here(policy):
        pool = policy.central.memory.router.alpha_pool
        for _ in range(max(rounds // 10, 2)):
            if time.time() > end:
                break
            kind = chance.choice(("gc", "verify", "compact", "expire", "list"))
            try:
                if kind == "gc":
                    laila.gc(pool, delete=True).wait()
                elif kind == "verify":
                    report = laila.verify(pool).wait()
                    wrong += [f"{key} was damaged" for key in report.damaged]
                elif kind == "compact":
                    laila.compact(pool).wait()
                elif kind == "expire":
                    laila.expire(pool, "variable-0", keep_last=1000).wait()
                else:
                    list(laila.ls(pool))
                counts[kind] += 1
            except (EntryNotFoundError, laila.errors.NotSupportedError):
                counts[f"{kind}, nothing to do"] += 1
            except LailaError as error:
                wrong.append(f"{kind}: {type(error).__name__}: {error}")
    outcomes.put((counts, {}, wrong))
