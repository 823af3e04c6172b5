"""A checkpoint of 200 tensors, 500 MB, of which 1 % changed, beside hashing alone and beside writing all.

Ours is ``Manifest(tree, by="content")`` and ``memorize``, into pools that have the checkpoint before. It may
take what SHA-256 of all tensors takes, and a fifth more: to find what changed every byte is hashed, and what
is there is not sent. Beside it hashlib hashes tensor by tensor in one thread.

Safetensors writes all of it into one file, which is synced by hand. It knows nothing of what changed, so ours
is to take a fifth of that. Each epoch changes two other tensors.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from benchmarks.bench import Bench, Figure, sync
from benchmarks.servers import s3_pool

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SERVERS = ("redis", "s3")
KINDS = ("files", "HDF5", "Redis", "S3")
WHOLE = "files, beside all of it written by safetensors"
REQUESTS = "each head is a request to a server that shares the processors: 1 to 2 ms each, on two"
HASHING = "hashing is four fifths of the time: how that compares with a disk depends on the two of them"
FIGURES = [
    *(Figure(f"{kind}, beside hashing", ratio=1.2) for kind in KINDS[:-1]),
    Figure("S3, beside hashing", ratio=1.2, known=2.5, why=REQUESTS),
    Figure(WHOLE, ratio=0.2, known=0.8, why=HASHING),
]
ROUNDS = 3
COUNT, NUMBERS = 200, 625_000  # of 4 bytes: 2.5 MB a tensor
CHANGED = 100  # one in so many


def checkpoint(bench: Bench) -> dict[str, npt.NDArray[np.float32]]:
    import numpy as np

    draw = np.random.default_rng(0)
    return {f"layer {number}": draw.random(NUMBERS, dtype="f4") for number in range(bench.size(COUNT))}


class Training:
    """Changes a hundredth of the tensors in each epoch."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = tensors
        self._names = list(tensors)
        self._next = 0

    def epoch(self) -> None:
        for _ in range(max(1, len(self._names) // CHANGED)):
            self.tensors[self._names[self._next % len(self._names)]] += 1
            self._next += 1


def ours(bench: Bench) -> None:
    import laila

    training = Training(checkpoint(bench))
    pools: dict[str, Any] = {
        "files": f"file://{bench.folder}/ours",
        "HDF5": f"hdf5://{bench.folder}/ours.h5",
        "Redis": bench.servers["redis"]["url"] + "?prefix=checkpoint_changed",
        "S3": s3_pool(bench.servers["s3"]),
    }
    for kind in KINDS:
        pool: Any = laila.memory.extend(pools[kind])

        def save(where: str = pool.global_id) -> None:
            manifest = laila.Manifest(training.tensors, by="content")
            manifest.memorize(pool_id=where).wait()

        save()
        bench.time(f"{kind}, beside hashing", save, times=3, warm=1, before=training.epoch)
        if kind == "files":
            bench.time(WHOLE, save, times=3, warm=1, before=training.epoch)
        pool.empty()


def raw(bench: Bench) -> None:
    from safetensors.numpy import save_file

    training = Training(checkpoint(bench))

    def hash_all() -> list[bytes]:
        return [sha256(tensor).digest() for tensor in training.tensors.values()]

    for kind in KINDS:
        bench.time(f"{kind}, beside hashing", hash_all, times=3, warm=1, before=training.epoch)
    count = iter(range(1000))

    def save() -> None:
        new = bench.folder / str(next(count))
        save_file(training.tensors, new)
        sync(new)
        sync(bench.folder)

    bench.time(WHOLE, save, times=3, warm=1, before=training.epoch)
