"""Files beside zarr: an array of 64 MiB, written and read whole.

zarr writes a folder of chunks, here of 8 MiB and not compressed (random numbers do not get smaller; its
default would only cost it time), several at once; ours writes one file. Both give a file its name when it
is whole, and neither syncs: the pool runs with ``durable="process"``. Ours checks a digest, zarr does not
here, and ours takes a snapshot before it writes: so 1.3 for that.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Figure
from benchmarks.payloads import large_array

FIGURES = [Figure("write", ratio=1.3), Figure("read", ratio=1)]
CHUNK = 1024 * 1024


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours?durable=process")
    array = large_array(64)
    entry = laila.constant(array)
    laila.memorize(entry).wait()
    bench.time("write", lambda: laila.memorize(laila.constant(array)).wait(), times=5, warm=1)
    bench.time("read", lambda: laila.remember(entry).wait().data)


def raw(bench: Bench) -> None:
    import zarr

    array = large_array(64)
    new = iter(range(1000))

    def write() -> None:
        store = bench.folder / f"{next(new)}.zarr"
        zarr.create_array(store=store, data=array, chunks=(CHUNK,), compressors=None)

    bench.time("write", write, times=5, warm=1)
    bench.time("read", lambda: zarr.open_array(bench.folder / "0.zarr", mode="r")[:])
