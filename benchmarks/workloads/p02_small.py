"""Memory pool: memorize and remember one dict of 1 KiB, blocking."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_dict

FIGURES = [Figure("memorize + remember", ratio=5, per="entry")]
COUNT = 2000


def ours(bench: Bench) -> None:
    import laila

    payload = small_dict(0)

    def work() -> None:
        for _ in range(COUNT):
            entry = laila.constant(payload)
            laila.memorize(entry).wait()
            laila.remember(entry).wait()

    bench.time("memorize + remember", work, per=COUNT, before=laila.alpha_pool.empty)


def raw(bench: Bench) -> None:
    import pickle

    payload = small_dict(0)

    def work() -> None:
        for _ in range(COUNT):
            pickle.loads(pickle.dumps(payload))

    bench.time("memorize + remember", work, per=COUNT)
