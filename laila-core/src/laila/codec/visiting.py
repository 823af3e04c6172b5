"""Visiting: the classes that the submitter of a task has registered, where the task runs.

What a program registers (:func:`laila.register_type`, :func:`laila.codec.register_codec`) is known in that
process alone. A task in another process is given it along: classes of importable modules by name, to be
imported when a payload needs them; those of a script or a notebook, which no other process can import, with
their code. They are unpickled by the same means, and the same trust, as the task itself, and hold for what is
done in its context, so that two submitters of one worker may mean different classes by one name.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from threading import RLock

from laila.codec import registry
from laila.codec.registry import Changes, class_path
from laila.errors import PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Dumps: TypeAlias = Callable[[object], "bytes | memoryview"]
    Loads: TypeAlias = Callable[[Any], Any]
    Codec: TypeAlias = tuple[str, Callable[[Any], object], Callable[[Any], object]]
    Row: TypeAlias = tuple[tuple[str, ...], str, str, bool, bytes]

__all__ = ["Visitors", "is_visited", "pack", "welcome"]

_KEPT = 16  # tables of different submitters, or states of one, that a worker remembers


# ------------------------------------------------------------------------------------------- at the submitter

_packed: tuple[int, Dumps, bytes] | None = None


def pack(dumps: Dumps) -> bytes:
    """Return what is registered in this process, or came to it with the running task, as bytes.

    ``dumps`` is the engine's serialization. What it does not take is left out: a payload that needs it is
    refused where the task runs, as if it had not been registered.
    """
    visitors = _here()
    if visitors is not None:
        return visitors.received  # what a task submits is on behalf of the same submitter
    global _packed
    if _packed is not None and _packed[0] == registry.version() and _packed[1] == dumps:
        return _packed[2]
    version = registry.version()
    rows = [row for item in registry.registered() if (row := _row(*item, dumps)) is not None]
    packed = b""
    if rows:
        from zlib import compress

        packed = compress(bytes(dumps(rows)), 1)
    _packed = version, dumps, packed
    return packed


def _row(cls: type, names: tuple[str, ...], codec: Codec | None, dumps: Dumps) -> Row | None:
    changes = registry.changes_of(cls)
    try:
        data = bytes(dumps((cls, changes.renamed, changes.removed, changes.defaults, codec)))
    except Exception:  # noqa: BLE001 - whatever keeps a class from being sent: most tasks do without it
        return None
    return names, class_path(cls), "" if codec is None else codec[0], _is_importable(cls), data


def _is_importable(cls: type) -> bool:
    if cls.__module__ == "__main__":
        return False
    known: object = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        known = getattr(known, name, None)
    return known is cls


# --------------------------------------------------------------------------------------------- in the worker


class Visitors:
    """The registrations of one submitter. Thread-safe."""

    def __init__(self, received: bytes, loads: Loads) -> None:
        from zlib import decompress

        self.received = received
        self._loads = loads
        self._lock = RLock()
        self._left: dict[int, bytes] = {}
        self._by_name: dict[str, int] = {}
        self._by_codec: dict[str, int] = {}
        self._by_path: dict[str, int] = {}
        self._types: dict[int, type] = {}
        self._names: dict[type, str] = {}
        self._changes: dict[type, Changes] = {}
        self._codecs: dict[type, Codec] = {}
        now: list[int] = []
        for number, (names, path, codec, importable, data) in enumerate(loads(decompress(received))):
            self._by_name.update(dict.fromkeys(names, number))
            self._by_path[path] = number
            if codec:
                self._by_codec[codec] = number
            self._left[number] = data
            if not importable:
                now.append(number)
        self._first = {number: name for name, number in reversed(self._by_name.items())}
        # At once: the code that the task brings of the same classes is younger, and takes their place.
        for number in now:
            with suppress(PayloadError):  # told where a payload needs it
                self._resolve(number)

    def _resolve(self, number: int | None) -> type | None:
        if number is None:
            return None
        with self._lock:
            if number in self._left:
                try:
                    cls, renamed, removed, defaults, codec = self._loads(self._left[number])
                except Exception as error:
                    path = next(path for path, known in self._by_path.items() if known == number)
                    raise PayloadError(
                        f"the class {path}, which the submitter of this task has registered, cannot be "
                        f"loaded here ({type(error).__name__}: {said(error)}); its module must be "
                        "importable where tasks run",
                        path=path,
                    ) from error
                del self._left[number]
                changes = Changes()
                changes.renamed, changes.removed, changes.defaults = renamed, removed, defaults
                self._types[number] = cls
                if number in self._first:
                    self._names[cls] = self._first[number]
                self._changes[cls] = changes
                if codec is not None:
                    self._codecs[cls] = codec
            return self._types[number]

    def type_named(self, name: str) -> type | None:
        """The class registered under ``name`` over there."""
        return self._resolve(self._by_name.get(name))

    def _know(self, cls: type) -> None:
        if cls not in self._changes:
            number = self._by_path.get(class_path(cls))
            if number in self._left:
                self._resolve(number)

    def name_of(self, cls: type) -> str | None:
        """The name that ``cls`` was registered under."""
        self._know(cls)
        return self._names.get(cls)

    def changes_of(self, cls: type) -> Changes | None:
        """Return the registered changes of ``cls``."""
        return self._changes.get(cls)

    def codec_of(self, cls: type) -> Codec | None:
        """The codec of ``cls``."""
        self._know(cls)
        return self._codecs.get(cls)

    def codec_named(self, name: str) -> Codec | None:
        """The codec registered under ``name``."""
        cls = self._resolve(self._by_codec.get(name))
        return None if cls is None else self._codecs[cls]


_visitors: ContextVar[Visitors | None] = ContextVar("laila_visitors", default=None)
_tables: dict[bytes, Visitors] = {}
_latest: Visitors | None = None
_visited = False
_lock = RLock()


def welcome(received: bytes, loads: Loads) -> None:
    """Let what :func:`pack` gave hold in this context (:mod:`contextvars`), for the task it came with."""
    global _latest, _visited
    _visited = True
    visitors = None
    if received:
        with _lock:
            visitors = _tables.pop(received, None) or Visitors(received, loads)
            _tables[received] = visitors
            while len(_tables) > _KEPT:
                del _tables[next(iter(_tables))]
        registry.look_elsewhere(_here)
    _visitors.set(visitors)
    _latest = visitors


def is_visited() -> bool:
    """Whether tasks of another process run here: then classes of ``__main__`` are those of its script."""
    return _visited


def _here() -> Visitors | None:
    # A thread that a task starts by hand has no context of the task's; mostly there is one submitter.
    return _visitors.get() or _latest
