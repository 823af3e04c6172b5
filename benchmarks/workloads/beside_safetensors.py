"""HDF5 and files beside safetensors: a checkpoint of 200 float32 tensors, 500 MB, saved and loaded.

Ours is a manifest of 200 entries: datasets of one HDF5 file, or a file each; safetensors writes one file,
which is what HDF5 stands beside most naturally. All are synced when they are saved: ours commit by
commit, or each file and the folders; beside it the one file and its folder, by hand, as safetensors syncs
nothing. Loaded are arrays of the caller's own. ``copy=False`` gives views of mapped files, of which every
page is touched; the numpy flavour of safetensors has none, so ``load_file`` stands beside, with its pages
touched too.

To save is to take a snapshot first, a copy of the 500 MB, and to compute a digest of each tensor: HDF5
may take 2.5 times as long for that. Ours checks the digests when it loads; safetensors has none. The
files are in the page cache on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.bench import FRESH_MEMORY, Bench, Figure, sync

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KINDS = ("HDF5", "files")
FIGURES = [
    figure
    for kind in KINDS
    for figure in (
        Figure(f"{kind}, save", ratio=2.5)
        if kind == "HDF5"
        else Figure(f"{kind}, save", ratio=1.5, known=2, why=FRESH_MEMORY),
        Figure(f"{kind}, load", ratio=1.3),
        Figure(f"{kind}, load with copy=False, touch each page", ratio=0.8),
    )
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
    tensors = checkpoint(bench)
    for kind, url in zip(KINDS, ("hdf5://{}/ours.h5", "file://{}/ours"), strict=True):
        save_and_load(bench, kind, url.format(bench.folder), tensors)


def save_and_load(bench: Bench, kind: str, url: str, tensors: dict[str, npt.NDArray[np.float32]]) -> None:
    import laila

    laila.alpha_pool = pool = laila.memory.extend(url)
    saved: list[str] = []

    def save() -> None:
        manifest = laila.Manifest({name: laila.constant(one) for name, one in tensors.items()})
        laila.memorize(manifest).wait()
        saved.append(manifest.global_id)

    bench.time(f"{kind}, save", save, times=3, warm=1)
    gid = saved[-1]
    bench.time(f"{kind}, load", lambda: arrays(gid, copy=True), times=3, warm=1)
    bench.time(
        f"{kind}, load with copy=False, touch each page",
        lambda: touch(arrays(gid, copy=False)),
        times=3,
        warm=1,
    )
    pool.empty()


def arrays(gid: str, *, copy: bool) -> list[Any]:
    import laila

    manifest: Any = laila.remember(gid).wait()
    return [entry.data for entry in laila.remember([*manifest], copy=copy).wait()]


def raw(bench: Bench) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = checkpoint(bench)
    count = iter(range(1000))
    file = bench.folder / "0"

    def save() -> None:
        new = bench.folder / str(next(count))
        save_file(tensors, new)
        sync(new)
        sync(bench.folder)

    for kind in KINDS:  # the same beside both
        bench.time(f"{kind}, save", save, times=3, warm=1)
        bench.time(f"{kind}, load", lambda: load_file(file), times=3, warm=1)
        bench.time(
            f"{kind}, load with copy=False, touch each page",
            lambda: touch(list(load_file(file).values())),
            times=3,
            warm=1,
        )
