"""Files beside joblib: a dict of 1 KiB and an array of 64 MiB, dumped and loaded, a file each.

``joblib.dump`` writes a file in place and syncs nothing; the pool runs with ``durable="process"``, so
that nothing is synced on either side. Ours does more on purpose: it checks what it reads, never runs code
that it read, and gives a file its name when it is whole (a second and a third call into the system for
each). Mapped, an array is summed, so that both read all of it; ours reads it twice, the first time for
its digest, and is handed to a worker and back, which a dict of 1 KiB notices. To write is to take a
snapshot first: a copy.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array, small_dict

FIGURES = [
    Figure("dump a dict", ratio=1.5, per="entry"),
    Figure("load a dict", ratio=2.5, per="entry"),
    Figure("dump an array of 64 MiB", ratio=2.2),
    Figure(
        "load an array of 64 MiB",
        ratio=1.3,
        known=1.5,
        why="it is copied out of a map of the file, and each piece of it verified: 5 ms of 20",
    ),
    Figure("load it mapped, and sum it", ratio=4),
]
COUNT = 200


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours?durable=process")
    payloads = [small_dict(number) for number in range(bench.size(COUNT))]
    ids: list[str] = []

    def write() -> None:
        ids[:] = [laila.memorize(laila.constant(payload)).wait() for payload in payloads]

    bench.time("dump a dict", write, per=len(payloads))
    bench.time("load a dict", lambda: [laila.remember(one).wait().data for one in ids], per=len(payloads))
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time(
        "dump an array of 64 MiB", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1
    )
    bench.time("load an array of 64 MiB", lambda: laila.remember(entry).wait().data)

    def load_mapped() -> float:
        return float(laila.remember(entry, copy=False).wait().data.sum())

    bench.time("load it mapped, and sum it", load_mapped)


def raw(bench: Bench) -> None:
    import joblib

    payloads = [small_dict(number) for number in range(bench.size(COUNT))]
    new = iter(range(1_000_000))

    def write() -> None:
        for payload in payloads:
            joblib.dump(payload, bench.folder / str(next(new)))

    bench.time("dump a dict", write, per=len(payloads))
    bench.time(
        "load a dict",
        lambda: [joblib.load(bench.folder / str(number)) for number in range(len(payloads))],
        per=len(payloads),
    )
    array, file = large_array(64), bench.folder / "array"
    joblib.dump(array, file)
    bench.time(
        "dump an array of 64 MiB",
        lambda: joblib.dump(array, bench.folder / f"array {next(new)}"),
        times=5,
        warm=1,
    )
    bench.time("load an array of 64 MiB", lambda: joblib.load(file))
    bench.time("load it mapped, and sum it", lambda: joblib.load(file, mmap_mode="r").sum())
