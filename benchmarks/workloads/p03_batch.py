"""Memory pool: a list of 2,000 dicts of 1 KiB, both ways."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import small_dict

FIGURES = [Figure("memorize + remember", ratio=3, per="entry")]
COUNT = 2000


def ours(bench: Bench) -> None:
    import laila

    payloads = [small_dict(number) for number in range(COUNT)]

    def work() -> object:
        entries = [laila.constant(payload) for payload in payloads]
        ids = laila.memorize(entries).wait()
        return laila.remember(ids).wait()

    bench.time("memorize + remember", work, per=COUNT, before=laila.alpha_pool.empty)


def raw(bench: Bench) -> None:
    import pickle

    payloads = [small_dict(number) for number in range(COUNT)]

    def work() -> object:
        return [pickle.loads(stored) for stored in [pickle.dumps(payload) for payload in payloads]]

    bench.time("memorize + remember", work, per=COUNT)
