"""What the workloads about manifests share: a tree of many leaves, and two ways to store it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.payloads import small_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from laila.entry import Entry

__all__ = ["as_batch", "as_manifest", "leaves"]


def leaves(count: int, size: int) -> Callable[[], list[Entry]]:
    """A function that makes so many entries of so many bytes, with new ids each time."""
    import laila

    payloads = [small_bytes(number, size) for number in range(count)]
    return lambda: [laila.constant(payload) for payload in payloads]


def as_manifest(bench: Bench, name: str, count: int, size: int, times: int, warm: int) -> None:
    """Time to make and memorize a manifest of ``count`` leaves; and to remember it whole by its id."""
    import laila

    make = leaves(count, size)
    entries: list[Entry] = []
    ids: list[str] = []

    def prepare() -> None:
        entries[:] = make()

    def memorize() -> None:
        tree = {f"part {start}": entries[start : start + 100] for start in range(0, count, 100)}
        manifest = laila.Manifest(tree)
        laila.memorize(manifest).wait()
        ids.append(manifest.global_id)

    def remember() -> list[Any]:
        manifest: Any = laila.remember(ids[0]).wait()
        return [entry.data for entry in manifest.remember().wait()]

    bench.time(f"{name}memorize", memorize, before=prepare, per=count, times=times, warm=warm)
    bench.time(f"{name}remember", remember, per=count, times=times, warm=warm)
    assert len(remember()) == count


def as_batch(bench: Bench, name: str, count: int, size: int, times: int, warm: int) -> None:
    """Time the same entries in one call each, without a manifest."""
    import laila

    make = leaves(count, size)
    entries: list[Entry] = []
    ids: list[str] = []

    def prepare() -> None:
        entries[:] = make()

    def memorize() -> None:
        ids[:] = laila.memorize(entries).wait()

    bench.time(f"{name}memorize", memorize, before=prepare, per=count, times=times, warm=warm)
    bench.time(
        f"{name}remember",
        lambda: [entry.data for entry in laila.remember(ids).wait()],
        per=count,
        times=times,
        warm=warm,
    )
