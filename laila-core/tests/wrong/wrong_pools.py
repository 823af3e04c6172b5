"""Pools that each break one promise, under the suite that shall find it: see test_conformance_finds.py."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from laila.contract import Blob, Pool, Settings, option
from laila.leasing.tables import MemoryLeases
from laila.testing import PoolConformance


class Right(Pool):
    """A dict of bytes, right in every way: what the others are made from."""

    durability = "none"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files: dict[str, bytes] = {}

    def _read(self, key: str) -> Any:
        return self.files.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytes(blob)

    def _delete(self, key: str) -> bool:
        return self.files.pop(key, None) is not None

    def _exists(self, key: str) -> bool:
        return key in self.files

    def _keys(self) -> Iterator[str]:
        yield from list(self.files)

    def _empty(self) -> None:
        self.files.clear()


class OnDisk(Pool):
    """A file an entry; right, but for what a subclass does to it."""

    writers = "host"

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = Path(path)
        self.folder.mkdir(exist_ok=True)

    def _file(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.blob"

    def _read(self, key: str) -> Any:
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, key: str, blob: Blob) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(bytes(blob))
        os.replace(file.name, self._file(key))

    def _delete(self, key: str) -> bool:
        try:
            self._file(key).unlink()
        except FileNotFoundError:
            return False
        return True

    def _exists(self, key: str) -> bool:
        return self._file(key).exists()

    def _keys(self) -> Iterator[str]:
        for file in list(self.folder.glob("*.blob")):
            with contextlib.suppress(FileNotFoundError):
                yield Blob.read_head(file.read_bytes()).key

    def _empty(self) -> None:
        for file in self.folder.glob("*.blob"):
            file.unlink(missing_ok=True)


class LosesAKey(Right):
    def _write(self, key: str, blob: Blob) -> None:
        if len(self.files) != 700:
            super()._write(key, blob)


class ServesStaleData(Right):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.cache: dict[str, bytes] = {}

    def _read(self, key: str) -> Any:
        if key in self.files:
            self.cache.setdefault(key, self.files[key])
        return self.cache.get(key) if key in self.files else None


class MisplacesRanges(Right):
    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Any:
        found = super()._read_ranges(key, ranges)
        return None if found is None else list(reversed(found))


class MixesUpKeysOfRanges(Right):
    def _read_ranges_many(self, asked: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> Any:
        return list(reversed(super()._read_ranges_many(asked)))


class PadsRanges(Right):
    def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Any:
        found = super()._read_ranges(key, ranges)
        if found is None:
            return None
        return [
            bytes(data).ljust(stop - start, b"\0") for data, (start, stop) in zip(found, ranges, strict=True)
        ]


class IgnoresCreateIfAbsent(Right):
    def _create(self, key: str, blob: Blob) -> bool:
        self._write(key, blob)
        return True


class CreatesInTwoSteps(Right):
    def _create(self, key: str, blob: Blob) -> bool:
        if self._exists(key):
            return False
        time.sleep(0.02)
        self._write(key, blob)
        return True


class ReturnsAnAlias(Right):
    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytearray(bytes(blob))  # type: ignore[assignment]


class SharesAScratchBuffer(Right):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scratch = bytearray(16 * 1024 * 1024)

    def _read(self, key: str) -> Any:
        found = self.files.get(key)
        if found is None:
            return None
        self.scratch[: len(found)] = found
        return memoryview(self.scratch)[: len(found)].toreadonly()


class BreaksOnLargeValues(Right):
    def _write(self, key: str, blob: Blob) -> None:
        self.files[key] = bytes(blob)[: 4 * 1024 * 1024]


class LeaksAThread(Right):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        threading.Thread(target=threading.Event().wait, args=(100,), daemon=True, name="left").start()


class LeaksAFile(Right):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.file = os.open(os.devnull, os.O_RDONLY)


class ConfusesKeys(Right):
    def _write(self, key: str, blob: Blob) -> None:
        super()._write(key.rstrip(), blob)

    def _read(self, key: str) -> Any:
        return super()._read(key.rstrip())

    def _exists(self, key: str) -> bool:
        return super()._exists(key.rstrip())


class AnswersOutOfOrder(Right):
    def _read_many(self, keys: Sequence[str]) -> list[Any]:
        found = {key: self.files[key] for key in self.files if key in set(keys)}
        return [*found.values(), *[None] * (len(keys) - len(found))]


class SortsEvolutionsAsText(Right):
    def _evolutions(self, stem: str) -> list[int]:
        return [int(number) for number in sorted(map(str, super()._evolutions(stem)))]


class DeletesByPrefix(Right):
    def _delete(self, key: str) -> bool:
        there = key in self.files
        for each in [each for each in self.files if each.startswith(key)]:
            del self.files[each]
        return there


class ListsKeysTwice(Right):
    def _keys(self) -> Iterator[str]:
        yield from super()._keys()
        yield from list(self.files)[:1]


class HidesAnOutage(Right):
    down = False

    def _read(self, key: str) -> Any:
        return None if self.down else super()._read(key)


class TellsWhatPasses(Right):
    down = False

    def _read(self, key: str) -> Any:
        if self.down:
            raise ValueError("connection refused")
        return super()._read(key)


class IsNotDurable(Right):
    durability = "process"  # type: ignore[assignment]  # that is what is wrong with it

    def __init__(self, path: str = "", **options: Any) -> None:
        super().__init__(**options)


class TearsWrites(OnDisk):
    """Nearly all that a write does is to stand still in the middle: whoever looks meets it there."""

    def _write(self, key: str, blob: Blob) -> None:
        with self._file(key).open("wb") as file:
            file.write(bytes(blob)[: blob.nbytes // 2])
            file.flush()
            time.sleep(0.05)
            file.write(bytes(blob)[blob.nbytes // 2 :])

    def _create(self, key: str, blob: Blob) -> bool:
        if self._exists(key):
            return False
        self._write(key, blob)
        return True


class ClaimsWholeBatches(OnDisk):
    batches = "batch"

    def _write_many(self, items: Sequence[tuple[str, Blob]]) -> None:
        for number, (key, blob) in enumerate(items):
            time.sleep(0.1 if number else 0)
            self._write(key, blob)


class FilesWhatIsNew(Right):
    """`_create_together` that files what it can."""

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        return all(self._create_many(items))


class TogetherInTwoSteps(Right):
    """`_create_together` that looks first, and writes then."""

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = {key for key, _ in items}
        if len(keys) < len(items) or any(self._exists(key) for key in keys):
            return False
        time.sleep(0.02)
        self._write_many(items)
        return True


class TogetherBackToFront(Right):
    """`_create_together` with which the last is seen before the first."""

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = {key for key, _ in items}
        with self._create_lock:
            if len(keys) < len(items) or any(self._exists(key) for key in keys):
                return False
            for key, blob in reversed(items):
                self._write(key, blob)
                time.sleep(0.03)
            return True


class TogetherInPieces(OnDisk):
    """`_create_together` that a kill leaves half done."""

    def _create_together(self, items: Sequence[tuple[str, Blob]]) -> bool:
        keys = {key for key, _ in items}
        if len(keys) < len(items) or any(self._exists(key) for key in keys):
            return False
        for number, (key, blob) in enumerate(items):
            time.sleep(0.2 if number else 0)
            self._write(key, blob)
        return True


class _SwapsAnything(MemoryLeases):
    def swap(self, changes: Sequence[tuple[str, bytes | None, bytes]]) -> list[bool]:
        """Make every change."""
        current = self.read([key for key, _, _ in changes])
        return super().swap([(key, old, new) for old, (key, _, new) in zip(current, changes, strict=True)])


class LendsToEverybody(Right):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table = _SwapsAnything()

    def _lease_table(self) -> MemoryLeases:
        return self.table


class ListsItsLeases(Right):
    def _keys(self) -> Iterator[str]:
        yield from [*self.files, *(self._lease_table() or MemoryLeases()).keys()]


class LendsNothing(Right):
    def _lease_table(self) -> None:
        return None


class StoresForAnybody(Right):
    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        return not any(key in self.files for key, _ in items) and all(self._create_many(items))


class StoresWhatIsNew(Right):
    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        super()._create_leased((), tokens)
        return all(self._create_many(items))


class FencesInTwoSteps(Right):
    """It looks at the leases, and writes a while later."""

    fences = True

    def _create_leased(self, items: Sequence[tuple[str, Blob]], tokens: Mapping[str, bytes]) -> bool:
        super()._create_leased((), tokens)
        time.sleep(0.02)
        return super()._create_many(items) == [True] * len(items)


class ClaimsSortedKeys(Right):
    listing = "sorted"


class WorksWhenClosed(Right):
    """It says nothing of being closed."""


def _check_nothing(self: Pool) -> None:
    """Say nothing."""


WorksWhenClosed._check_open = _check_nothing  # type: ignore[method-assign,assignment]  # a class body may not define it


class SecretSettings(Settings):
    prefix = "wrong"
    path: str = option(help="where")
    password: str = option(secret=True, help="what opens it")


class ShowsItsSecret(OnDisk):
    def __init__(self, path: str, password: str = "hunter2", **options: Any) -> None:
        super().__init__(
            path, settings=SecretSettings.resolve({"path": path, "password": password}), **options
        )

    @property
    def label(self) -> str:
        return f"pool with {self.settings.password}"  # type: ignore[union-attr]


# -- under the suite ---------------------------------------------------------------------------------


class Suite(PoolConformance):
    """The suite over ``kind``."""

    __test__ = False
    kind: ClassVar[type[Any]] = Right

    @pytest.fixture
    def open_pool(self, tmp_path: Path) -> Callable[..., Pool]:
        if not issubclass(self.kind, (OnDisk, IsNotDurable)):
            return self.kind
        return lambda **options: self.kind(str(tmp_path / "pool"), **options)


class OutageSuite(Suite):
    """The same over a pool that can be ``down``."""

    __test__ = False

    @pytest.fixture
    def open_pool(self) -> Callable[..., Pool]:
        self.pools: list[Any] = []

        def open_one(**options: Any) -> Pool:
            self.pools.append(self.kind(**options))
            return self.pools[-1]  # type: ignore[no-any-return]

        return open_one

    @pytest.fixture
    def outage(self) -> Callable[[], contextlib.AbstractContextManager[object]]:
        @contextlib.contextmanager
        def down() -> Iterator[None]:
            self.pools[-1].down = True
            yield
            self.pools[-1].down = False

        return down


def _suite(kind: type[Pool]) -> type[Suite]:
    base = OutageSuite if hasattr(kind, "down") else Suite
    name = f"Test{kind.__name__}"
    return type(
        name, (base,), {"kind": kind, "__test__": True, "__module__": __name__, "__doc__": kind.__doc__}
    )


for _kind in [
    each for each in globals().copy().values() if isinstance(each, type) and issubclass(each, Pool)
]:
    if _kind not in {Pool, OnDisk}:
        globals()[f"Test{_kind.__name__}"] = _suite(_kind)
