"""Memory pool: an array of 64 MiB, memorized and remembered."""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array

FIGURES = [
    Figure("memorize", ratio=1.6),
    Figure("remember", ratio=1.6),
    Figure("memorize, copy=False", at_most=0.001),
    Figure("remember, copy=False", at_most=0.001),
]


def ours(bench: Bench) -> None:
    import laila

    array = large_array(64)
    frozen = array.copy()
    frozen.flags.writeable = False
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    # The copy of the round before is freed first, as in the raw counterpart: fresh pages cost more.
    bench.time(
        "memorize",
        lambda: laila.memorize(laila.constant(array, nickname="array"), overwrite=True).wait(),
        before=lambda: laila.forget(nickname="array", scope="ENTRY", missing_ok=True).wait(),
    )
    bench.time("remember", lambda: laila.remember(entry).wait().data)
    bench.time("memorize, copy=False", lambda: laila.memorize(laila.constant(frozen), copy=False).wait())
    bench.time("remember, copy=False", lambda: laila.remember(entry, copy=False).wait().data)


def raw(bench: Bench) -> None:
    array = large_array(64)
    for name in ("memorize", "remember"):
        bench.time(name, array.copy)
