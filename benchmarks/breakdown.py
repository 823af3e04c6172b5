"""Where the time of one small entry goes: ``python -m benchmarks.breakdown`` times the parts and draws them.

The parts are those of P2 (a dict of 1 KiB into memory and back) and of reading P8 (1 KiB of bytes out of
Redis): each is timed by itself, and what the whole takes beyond their sum is ``calls``: functions, arguments,
futures. The picture and a table go to ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from timeit import repeat
from typing import TYPE_CHECKING

import laila
from benchmarks.payloads import small_bytes, small_dict
from laila.blob.blob import Blob, unpack_checked
from laila.codec import decode, encode, plain
from laila.entry import from_blob
from laila.identity import new_uuid

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

RESULTS = Path(__file__).resolve().parent / "results"
TIMES, ROUNDS = 1000, 30


def main() -> None:
    """Time, print and draw."""
    parser = argparse.ArgumentParser(prog="benchmarks.breakdown", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the picture and the table go")
    folder = parser.parse_args().results
    folder.mkdir(parents=True, exist_ok=True)
    wholes = {"memorize": memorize(), "remember": remember(), "read the bytes of a blob": read()}
    lines = ["| | part | µs |", "| --- | --- | ---: |"]
    for whole, parts in wholes.items():
        lines += [f"| {whole} | {part} | {micros:.2f} |" for part, micros in parts.items()]
        lines.append(f"| {whole} | **all** | **{sum(parts.values()):.2f}** |")
    data = small_dict(0)
    lines.append(f"| beside it | pickle both ways | {timed(lambda: pickle.loads(pickle.dumps(data))):.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    (folder / "breakdown.md").write_text(text)
    draw(wholes, folder / "breakdown.png")
    laila.terminate()


def timed(work: Callable[[], object]) -> float:
    """The microseconds of one call: the least of many rounds."""
    return min(repeat(work, number=TIMES, repeat=ROUNDS)) / TIMES * 1e6


def rest(whole: float, parts: dict[str, float]) -> dict[str, float]:
    """The parts, and what the whole takes beyond them."""
    return {**parts, "calls": max(whole - sum(parts.values()), 0.0)}


def memorize() -> dict[str, float]:
    """One new entry of a small dict, into memory."""
    data = small_dict(0)
    key = laila.constant(data).global_id
    walk, pack = timed(lambda: plain.is_plain(data)), timed(lambda: plain.pack_object(data))
    parts = {
        "a random uuid": timed(new_uuid),
        "is it plain?": walk,
        "MessagePack": pack,
        "the blob": timed(lambda: encode(data, key=key)) - walk - pack,
    }

    def whole() -> None:
        laila.memorize(laila.constant(data)).wait()

    took = timed(whole)
    laila.alpha_pool.empty()
    return rest(took, parts)


def remember() -> dict[str, float]:
    """The same entry, out of memory."""
    entry = laila.constant(small_dict(0))
    laila.memorize(entry).wait()
    blob = encode(entry.data, key=entry.global_id)
    unpack = timed(lambda: unpack_checked(blob.tree))
    parts = {"MessagePack": unpack, "the entry": timed(lambda: from_blob(blob)) - unpack}
    return rest(timed(lambda: laila.remember(entry).wait()), parts)


def read() -> dict[str, float]:
    """The bytes of a blob, as Redis or a file gives them, to an entry: 1 KiB of bytes."""
    entry = laila.constant(small_bytes(0))
    data = bytes(encode(entry.data, key=entry.global_id))
    blob = Blob.from_bytes(data)
    unpack = timed(lambda: decode(blob))
    return {
        "head and checksums": timed(lambda: Blob.from_bytes(data, key=blob.key)),
        "MessagePack": unpack,
        "the entry": timed(lambda: from_blob(blob)) - unpack,
    }


COLORS = {
    "a random uuid": "#7a8b99",
    "is it plain?": "#3f7cac",
    "MessagePack": "#2a7f62",
    "the blob": "#95b46a",
    "the entry": "#c9a227",
    "head and checksums": "#b3432f",
    "calls": "#d8d2c4",
}


def draw(wholes: dict[str, dict[str, float]], file: Path) -> None:
    """Draw one bar for each whole, of its parts."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3))
    seen: set[str] = set()
    for place, parts in enumerate(wholes.values()):
        left = 0.0
        for part, micros in parts.items():
            label = None if part in seen else part
            axes.barh(place, micros, left=left, color=COLORS[part], height=0.6, label=label)
            seen.add(part)
            left += micros
    axes.set_yticks(range(len(wholes)), list(wholes), fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("microseconds for one entry of 1 KiB")
    figure.legend(fontsize=8, ncols=7, loc="upper center", frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
