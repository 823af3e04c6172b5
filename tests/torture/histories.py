"""Histories of several processes on one name: could their operations have happened one after another?

The model is that of the documented promise: a constant is created once, ``overwrite`` replaces, ``forget``
deletes, and a read returns what was stored last. The checker is that of Wing and Gong, with the memo of Lowe.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import laila
from laila.errors import EntryNotFoundError, ImmutableEntryError, LailaError
from torture.report import Options, Report

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from torture.stores import Address, Store

__all__ = ["Event", "histories", "is_linearizable"]

PROCESSES = 4
OPERATIONS = 8
NAMES = 6
_context = multiprocessing.get_context("forkserver")


class Event(NamedTuple):
    """One operation on one name: when it began and ended, what was asked, and what was answered."""

    begun: float
    ended: float
    kind: str
    value: bytes
    answer: bytes | None


def histories(store: Store, options: Options) -> Report:
    """Let four processes create, overwrite, read and forget the same names; check each name's history."""
    _context.set_forkserver_preload(["torture.histories", "torture.stores", "laila.pool.s3"])
    report = Report("linear", store.kind, options.seed)
    end = time.monotonic() + options.seconds
    for number in range(options.rounds):
        if time.monotonic() > end:
            break
        address = store.fresh()
        outcomes: Queue[list[tuple[str, Event]] | str] = _context.Queue()
        begin = time.monotonic() + 0.3
        seeds = [f"{options.seed}/{number}/{who}" for who in range(PROCESSES)]
        processes = [_context.Process(target=_do, args=(address, seed, begin, outcomes)) for seed in seeds]
        for process in processes:
            process.start()
        found = [outcomes.get() for _ in processes]
        for process in processes:
            process.join()
        report.wrong += [text for text in found if isinstance(text, str)]
        events = [pair for events in found if not isinstance(events, str) for pair in events]
        for name in sorted({name for name, _ in events}):
            history = [event for other, event in events if other == name]
            report.counts["histories"] += 1
            report.counts["operations"] += len(history)
            if not is_linearizable(history):
                report.wrong.append(f"round {number}, {name}: {sorted(history)}"[:1500])
    return report


def _do(address: Address, seed: str, begin: float, outcomes: Queue[list[tuple[str, Event]] | str]) -> None:
    chance = random.Random(seed)
    events: list[tuple[str, Event]] = []
    with laila.DefaultPolicy(alpha_pool=address.open()) as policy:
        memory = policy.central.memory
        while time.monotonic() < begin:
            time.sleep(0.001)
        for number in range(OPERATIONS):
            name = f"name-{chance.randrange(NAMES)}"
            kind = chance.choice(("create", "overwrite", "read", "read", "forget"))
            value = f"{seed}/{number}".encode()
            entry = laila.constant(value, nickname=name)
            answer: bytes | None = b"done"
            begun = time.monotonic()
            try:
                if kind == "read":
                    held: Any = memory.remember(entry.global_id).wait()
                    answer = held.data
                elif kind == "forget":
                    memory.forget(entry.global_id, missing_ok=True).wait()
                else:
                    memory.memorize(entry, overwrite=kind == "overwrite").wait()
            except EntryNotFoundError:
                answer = None
            except ImmutableEntryError:
                answer = b"refused"
            except LailaError as error:
                outcomes.put(f"{kind} of {name}: {error}")
                return
            events.append((name, Event(begun, time.monotonic(), kind, value, answer)))
    outcomes.put(events)


def is_linearizable(history: list[Event]) -> bool:
    """Whether some order of the operations keeps their times and gives the answers of the model."""
    events = sorted(history)
    every = (1 << len(events)) - 1
    seen: set[tuple[int, bytes | None]] = set()
    stack: list[tuple[int, bytes | None]] = [(0, None)]
    while stack:
        done, state = stack.pop()
        if done == every:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [event for number, event in enumerate(events) if not done >> number & 1]
        horizon = min(event.ended for event in left)
        for number, event in enumerate(events):
            if done >> number & 1 or event.begun > horizon:
                continue
            answer, after = _model(event, state)
            if answer == event.answer:
                stack.append((done | 1 << number, after))
    return False


def _model(event: Event, state: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Return what the store answers in a state, and the state after."""
    if event.kind == "read":
        return state, state
    if event.kind == "forget":
        return b"done", None
    if event.kind == "create" and state is not None and state != event.value:
        return b"refused", state
    return b"done", event.value
