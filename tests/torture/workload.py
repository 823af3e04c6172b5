"""A writer's operations, and the model of what a store must hold after them: the same from the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import laila

if TYPE_CHECKING:
    from collections.abc import Iterable

    from laila.central.memory_verbs import MemoryVerbs

__all__ = ["NAMES", "Operation", "State", "look", "operation", "run"]

NAMES = tuple(f"name-{number}" for number in range(24))
SIZES = (1, 100, 3_000, 70_000, 300_000)

State = dict[str, bytes]
"""What each name holds."""


@dataclass(frozen=True)
class Operation:
    """One call: ``store``, ``together`` (several at once), ``forget`` or ``manifest`` (leaves and a tree)."""

    kind: str
    names: tuple[str, ...]
    payloads: tuple[bytes, ...]

    def apply(self, state: State) -> State:
        """Return the state after the operation."""
        if self.kind == "forget":
            return {name: payload for name, payload in state.items() if name not in self.names}
        return state | dict(zip(self.names, self.payloads, strict=True))


def operation(seed: int, number: int) -> Operation:
    """Return the ``number``-th operation of a seed."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choices(("store", "together", "forget", "manifest"), (55, 20, 15, 10))[0]
    names = chance.sample(NAMES, 1 if kind in ("store", "forget") else chance.choice((2, 3, 6)))
    payloads = () if kind == "forget" else tuple(payload(chance) for _ in names)
    return Operation(kind, tuple(names), payloads)


def payload(chance: random.Random) -> bytes:
    """Return some bytes that no two operations share."""
    size = chance.choice(SIZES)
    return chance.randbytes(16) + bytes([chance.randrange(256)]) * size


def run(operation: Operation, memory: MemoryVerbs) -> None:
    """Do it, and wait until it is done."""
    if operation.kind == "forget":
        memory.forget(
            [laila.constant(b"", nickname=name).global_id for name in operation.names], missing_ok=True
        ).wait()
        return
    entries = [
        laila.constant(payload, nickname=name)
        for name, payload in zip(operation.names, operation.payloads, strict=True)
    ]
    if operation.kind == "manifest":
        tree: Any = {entry.nickname: entry for entry in entries}
        memory.memorize(laila.Manifest(tree, nickname="manifest"), overwrite=True).wait()
    elif operation.kind == "together":
        memory.memorize(entries, overwrite=True).wait()
    else:
        memory.memorize(entries[0], overwrite=True).wait()


def look(memory: MemoryVerbs, names: Iterable[str] = NAMES) -> State:
    """Read what the store holds. Damage raises."""
    names = list(names)
    ids = [laila.constant(b"", nickname=name).global_id for name in names]
    entries: Any = memory.remember(ids, missing_ok=True).wait()
    return {name: entry.data for name, entry in zip(names, entries, strict=True) if entry is not None}
