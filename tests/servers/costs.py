"""What something costs, counted: functions called, bytes of memory, and the processor's time."""

from __future__ import annotations

import math
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

__all__ = ["Cost", "assert_linear", "cost_of"]

STEEPEST = 3.0  # how many times as much twice the input may cost: 2, and room


class Cost(NamedTuple):
    """Functions called and the peak of memory, which do not depend on the machine; and seconds, which do."""

    calls: int
    nbytes: int
    seconds: float


FLOOR = Cost(20_000, 4 * 2**20, 0.3)
"""What nobody counts: a constant, and what the machine is busy with."""


def cost_of(work: Callable[[], object]) -> Cost:
    """Do ``work`` and return what it cost in this thread."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    work()  # what it imports or keeps is not what is counted
    seconds = math.inf
    for _ in range(3):  # what else runs on the processor may slow one of them down
        began = time.thread_time()
        work()
        seconds = min(seconds, time.thread_time() - began)
        if seconds < FLOOR.seconds:
            break
    tracemalloc.start()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        _, nbytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return Cost(calls, nbytes, seconds)


def assert_linear(one: Cost, two: Cost, four: Cost, what: object = "") -> None:
    """Hold the costs of inputs of one, two and four times a size to what linear cost allows."""
    for small, large in ((one, two), (two, four)):
        for name, least, before, after in zip(Cost._fields, FLOOR, small, large, strict=True):
            assert after <= least + STEEPEST * before, (what, name, one, two, four)
