"""HDF5: a manifest of 100,000 leaves of 1 KiB; beside one of 2,000, for each leaf.

A leaf costs as much in a large manifest as in a small one. Memory: what is resident at the peak, over
what was before and the 1 KiB that are copied either way (the snapshots; what comes back). Memorizing, the
rest is the heads of the snapshots, the ids and the tree; remembering, entries and ids: 3 KiB are plenty.
What is collected (gc) grows with what is alive, as everywhere in Python: so 1.8 times for each leaf.
"""

from __future__ import annotations

from typing import Any

from benchmarks.bench import Bench, Figure
from benchmarks.manifests import as_manifest
from benchmarks.memory import peak, start_peak
from benchmarks.payloads import small_bytes

FIGURES = [
    Figure("memorize", ratio=1.8, per="leaf"),
    Figure("remember", ratio=1.3, per="leaf"),
    Figure("memorize, peak memory", at_most=3, unit="KiB", per="leaf"),
    Figure("remember, peak memory", at_most=2, unit="KiB", per="leaf"),
]
ROUNDS = 3
COUNT, FEW, SIZE = 100_000, 2000, 1024


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/ours.h5")
    count = bench.size(COUNT)
    memory(bench, count)
    as_manifest(bench, "", count, SIZE, times=1, warm=0)


def memory(bench: Bench, count: int) -> None:
    import laila

    entries = [laila.constant(small_bytes(number, SIZE)) for number in range(count)]
    start = start_peak()
    manifest = laila.Manifest({"leaves": entries})
    laila.memorize(manifest).wait()
    bench.note("memorize, peak memory", (peak() - start) * 1024 / count - SIZE / 1024)
    del entries
    gid = manifest.global_id
    del manifest
    start = start_peak()
    again: Any = laila.remember(gid).wait()
    data = [entry.data for entry in again.remember().wait()]
    bench.note("remember, peak memory", (peak() - start) * 1024 / count - SIZE / 1024)
    assert len(data) == count


def raw(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"hdf5://{bench.folder}/raw.h5")
    as_manifest(bench, "", bench.size(FEW), SIZE, times=5, warm=1)
