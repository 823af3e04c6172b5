"""Files: open a manifest of 100,000 leaves and print its tree; beside reading the same bytes.

The manifest is remembered by its id, and the first thousand lines of its tree are printed, with the sums of
all branches: no leaf is read. Beside it an entry with the same payload is remembered: the tree, and the
table of leaves, as a plain dict.
"""

from __future__ import annotations

import io
from typing import Any

from benchmarks.bench import Bench, Figure

FIGURES = [
    Figure(
        "open and print",
        ratio=3,
        known=10,
        why="each of the ids is checked, and then found in the table once for the sums of the branches",
    )
]
COUNT, IN_A_BRANCH = 100_000, 100


def ours(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file:{bench.folder}/ours")
    manifest = made(bench.size(COUNT))
    laila.memorize(manifest, missing_ok=True).wait()

    def look() -> None:
        found: Any = laila.remember(manifest.global_id).wait()
        found.tree(file=io.StringIO())

    bench.time("open and print", look)


def raw(bench: Bench) -> None:
    import laila

    laila.alpha_pool = laila.memory.extend(f"file:{bench.folder}/raw")
    entry = laila.constant(made(bench.size(COUNT))._to_store())
    laila.memorize(entry).wait()
    bench.time("open and print", lambda: laila.remember(entry.global_id).wait())


def made(count: int) -> Any:
    """A manifest of arrays that are nowhere, with a table that says what they were."""
    import laila
    from laila.entry.leaves import Leaf

    ids = [laila.constant(None).global_id for _ in range(count)]
    starts = range(0, count, IN_A_BRANCH)
    manifest = laila.Manifest({f"part {start}": ids[start : start + IN_A_BRANCH] for start in starts})
    manifest.note_leaves(
        {
            leaf: Leaf("numpy.ndarray", (n % 300, 224), "float32", n % 300 * 896, n.to_bytes(16, "little"))
            for n, leaf in enumerate(ids, 1)
        }
    )
    return manifest
