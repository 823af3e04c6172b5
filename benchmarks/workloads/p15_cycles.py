"""Memory pool: 20,000 cycles of memorize and forget leave nothing behind.

Each future is asked for its id, so that the bank has to know it. A warm-up of 4,000 cycles comes first: it
fills the bank, whose bound is reached with the 1,024th, and the interpreter's own pools of memory.
"""

from __future__ import annotations

from time import perf_counter

from benchmarks.bench import Bench, Figure
from benchmarks.memory import live_objects, resident
from benchmarks.payloads import small_dict

FIGURES = [
    Figure("memorize + forget", per="cycle"),
    Figure("resident memory, growth", at_most=1, unit="MiB"),
    Figure("live objects, growth", at_most=50, unit="objects"),
    Figure("futures in the bank", at_most=1024, unit="futures"),
]
COUNT, WARM = 20_000, 4_000


def ours(bench: Bench) -> None:
    import laila

    payload = small_dict(0)
    bank = laila.get_active_policy().future_bank

    def cycles(count: int) -> int:
        most = 0
        for _ in range(count):
            entry = laila.constant(payload)
            memorized = laila.memorize(entry)
            assert memorized.global_id in bank
            memorized.wait()
            forgotten = laila.forget(entry)
            assert forgotten.global_id in bank
            forgotten.wait()
            most = max(most, len(bank))
        return most

    cycles(WARM)
    objects, memory = live_objects(), resident()
    count = bench.size(COUNT)
    start = perf_counter()
    most = cycles(count)
    bench.note("memorize + forget", (perf_counter() - start) / count)
    bench.note("resident memory, growth", resident() - memory)
    bench.note("live objects, growth", live_objects() - objects)
    bench.note("futures in the bank", most)
    assert not list(laila.alpha_pool.keys())
