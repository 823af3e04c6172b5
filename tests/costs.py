"""What the hot paths cost, counted: ``python costs.py small`` prints it as JSON for one call.

Counted are bytecode instructions, calls of functions written in C, and blocks of memory allocated, in every
thread. Unlike times they are the same on a busy machine, and nearly the same everywhere under one version of
Python.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import laila
from laila.taskforce.threads import PythonThreadPoolTaskForce

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["PATHS"]


def payload(number: int) -> dict[str, Any]:
    """A dict of about 1 KiB."""
    return {
        "step": number,
        "loss": 0.25 + number / 1000,
        "name": f"run-{number:06d}",
        "tags": ["train", "validation", "digits"],
        "history": [number / (one + 1) for one in range(50)],
        "config": {"rate": 0.01, "layers": [64, 32, 10], "activation": "relu", "seed": 7, "note": "x" * 220},
    }


def small() -> None:
    """Memorize and remember one small dict in memory, a hundred times."""
    data = PAYLOADS[0]
    for _ in range(100):
        entry = laila.constant(data)
        laila.memorize(entry).wait()
        laila.remember(entry).wait()


PAYLOADS = [payload(number) for number in range(200)]


def batch() -> None:
    """Memorize and remember two hundred of them in one call each."""
    laila.remember(laila.memorize([laila.constant(data) for data in PAYLOADS]).wait()).wait()


def nothing() -> None:
    """Do nothing."""


def tasks() -> None:
    """Submit a thousand tasks that do nothing and wait for all."""
    with PythonThreadPoolTaskForce(workers=4) as force:
        force.submit([nothing] * 1000).wait()


PATHS: dict[str, tuple[Callable[[], None], int]] = {
    "small": (small, 100),
    "batch": (batch, 200),
    "tasks": (tasks, 1000),
}
"""Each path, and how often it does what is counted."""


def count(work: Callable[[], None]) -> dict[str, int]:
    """Count what one call of ``work`` costs, after two that do not count."""
    instructions = allocations = calls = before = 0
    blocks = sys.getallocatedblocks

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return instruction

    def instruction(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal instructions, allocations, before
        if event == "opcode":
            instructions += 1
            allocations += max(blocks() - before, 0)
            before = blocks()
        return instruction

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    work()
    work()
    gc.collect()
    gc.disable()
    before = blocks()
    threading.settrace(trace)
    sys.settrace(trace)
    work()
    sys.settrace(None)
    threading.settrace(None)
    threading.setprofile(profile)
    sys.setprofile(profile)
    work()
    sys.setprofile(None)
    threading.setprofile(None)
    return {"instructions": instructions, "allocations": allocations, "calls": calls}


if __name__ == "__main__":
    work, times = PATHS[sys.argv[1]]
    print(json.dumps({name: number / times for name, number in count(work).items()}))
    laila.terminate()
