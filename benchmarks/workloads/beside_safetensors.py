"""Files beside safetensors: a checkpoint of 200 float32 tensors, 500 MB, saved and loaded.

Ours is a manifest of 200 entries, a file each; safetensors writes one file. Both are synced when they are saved:
ours each file and the folders; beside it the one file and its folder, by hand, as safetensors syncs nothing.
Loaded are arrays of the caller's own. ``copy=False`` gives views of mapped files, of which every page is touched; the
numpy flavour of safetensors has none, so ``load_file`` stands beside, with its pages touched too.

Ours checks a digest of each tensor; safetensors checks none. The files are in the page cache on either side.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Figure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FIGURES = [
    Figure("save", ratio=1.5),
    Figure("load", ratio=1.3),
    Figure("load with copy=False, touch each page", ratio=0.8),
]
ROUNDS = 3
COUNT, NUMBERS = 200, 625_000  # of 4 bytes: 2.5 MB a tensor
PAGE = 1024


def checkpoint(bench: Bench) -> dict[str, npt.NDArray[np.float32]]:
    import numpy as np

    draw = np.random.default_rng(0)
    return {
        f"layer {number}": draw.random(NUMBERS, dtype="f4").reshape(625, 1000)
        for number in range(bench.size(COUNT))
    }


def touch(arrays: list[Any]) -> float:
    return float(sum(array.reshape(-1)[::PAGE].sum() for array in arrays))


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file://{bench.folder}/ours")
    tensors = checkpoint(bench)
    saved: list[laila.Manifest] = []

    def drop() -> None:
        while saved:
            laila.forget(saved.pop()).wait()

    def save() -> None:
        saved.append(laila.Manifest({name: laila.constant(one) for name, one in tensors.items()}))
        laila.memorize(saved[0]).wait()

    bench.time("save", save, before=drop, times=3, warm=1)
    gid = saved[0].global_id
    bench.time("load", lambda: arrays(gid, copy=True), times=3, warm=1)
    bench.time(
        "load with copy=False, touch each page", lambda: touch(arrays(gid, copy=False)), times=3, warm=1
    )


def arrays(gid: str, *, copy: bool) -> list[Any]:
    import laila

    manifest = laila.remember(gid).wait()
    return [entry.data for entry in laila.remember(list(manifest), copy=copy).wait()]


def raw(bench: Bench) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = checkpoint(bench)
    file = bench.folder / "raw.safetensors"

    def save() -> None:
        save_file(tensors, file)
        for path in (file, bench.folder):
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)

    bench.time("save", save, before=lambda: file.unlink(missing_ok=True), times=3, warm=1)
    bench.time("load", lambda: load_file(file), times=3, warm=1)
    bench.time(
        "load with copy=False, touch each page",
        lambda: touch(list(load_file(file).values())),
        times=3,
        warm=1,
    )
