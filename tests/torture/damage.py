"""Flipped bits and cut files: damage is found before wrong data is returned."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import laila
from laila.active import only_here
from laila.errors import LailaError
from torture.report import Options, Report

if TYPE_CHECKING:
    from torture.stores import Store

__all__ = ["damage", "truncation"]

_KINDS = ("files", "hdf5", "sqlite")


def damage(store: Store, options: Options) -> Report:
    """Flip a bit of a stored file, read everything, and put the bit back; ``rounds`` times."""
    report = Report("damage", store.kind, options.seed)
    if store.kind not in _KINDS:
        report.counts["files that can be reached"] = 0
        return report
    chance = random.Random(options.seed)
    address = store.fresh()
    payloads = _payloads(options.seed)
    _fill(address.open(), payloads)
    place = Path(address.place)
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    end = time.monotonic() + options.seconds
    for number in range(options.rounds):
        if time.monotonic() > end:
            break
        file = chance.choices(files, sizes)[0]
        position, bit = chance.randrange(file.stat().st_size), 1 << chance.randrange(8)
        cut = number % 10 == 9
        whole = file.read_bytes() if cut else b""
        if cut:
            with file.open("r+b") as stream:
                stream.truncate(position)
        else:
            flip(file, position, bit)
        before = {path: path.read_bytes() for path in place.parent.glob(f"{place.name}*") if path.is_file()}
        found = _look(address, payloads)
        report.counts["cut files" if cut else "flipped bits"] += 1
        report.counts[found.partition(":")[0]] += 1
        if found.startswith("wrong"):
            what = f"cut at {position}" if cut else f"bit {bit} of byte {position}"
            report.wrong.append(f"{what} of {file.name}: {found}")
        for path, content in before.items():  # a reader may have repaired an index
            if path.read_bytes() != content:
                path.write_bytes(content)
        if cut:
            file.write_bytes(whole)
        else:
            flip(file, position, bit)
    return report


def flip(file: Path, position: int, bit: int) -> None:
    """Flip one bit of a file."""
    with file.open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ bit]))


def _payloads(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    arrays = {f"array-{number}": draw.random(50 * 4**number) for number in range(5)}
    texts = {f"text-{number}": {"n": number, "t": "x" * number * 40} for number in range(10)}
    return {**arrays, **texts}


def _fill(pool: Any, payloads: dict[str, Any]) -> None:
    with laila.DefaultPolicy(alpha_pool=pool) as policy, only_here(policy):
        memory = policy.central.memory
        memory.memorize([laila.constant(data, nickname=name) for name, data in payloads.items()]).wait()
        leaves: dict[str, Any] = {f"leaf-{number}": np.full(10, number) for number in range(20)}
        laila.Manifest(leaves, nickname="packed", by="content").memorize(pack="16 MiB").wait()


def _look(address: Any, payloads: dict[str, Any]) -> str:
    """Read everything: ``found``, ``told absent``, ``harmless``, or what came back wrong."""
    told = absent = 0
    try:
        pool = address.open(**({} if address.kind == "files" else {"read_only": True}))
    except (LailaError, OSError):
        return "found"
    with laila.DefaultPolicy(alpha_pool=pool) as policy, only_here(policy):
        memory = policy.central.memory
        for name, data in payloads.items():
            try:
                entry: Any = memory.remember(nickname=name).wait()
                if not np.array_equal(entry.data, data):
                    return f"wrong: {name}"
            except laila.errors.EntryNotFoundError:
                absent += 1
            except (LailaError, OSError):
                told += 1
        try:
            manifest: Any = memory.remember(nickname="packed").wait()
            packed = manifest.resolve()
            for number in range(20):
                if not np.array_equal(packed[f"leaf-{number}"].data, np.full(10, number)):
                    return f"wrong: leaf {number}"
        except laila.errors.EntryNotFoundError:
            absent += 1
        except (LailaError, OSError):
            told += 1
    return "found" if told else "told absent" if absent else "harmless"


def truncation(store: Store, options: Options) -> Report:
    """Cut a blob at every length: each cut is found."""
    from laila.blob.blob import Blob
    from laila.entry import from_blob, to_blob

    report = Report("cuts", store.kind, options.seed)
    for data in ({"a": [1, "x" * 50]}, np.arange(300.0), b"y" * 5000):
        whole = bytes(to_blob(laila.constant(data, nickname="cut")))
        for length in range(len(whole)):
            report.counts["lengths"] += 1
            try:
                from_blob(Blob.from_bytes(whole[:length]))
            except laila.errors.CorruptEntryError:
                report.counts["found"] += 1
            else:
                report.wrong.append(f"{length} bytes of {len(whole)} were taken for the whole")
    return report
