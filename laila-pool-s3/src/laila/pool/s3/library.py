"""The client library (obstore) of this process: after a fork, the child loads a copy of its own.

The library's threads do not survive a fork, and a child that calls it waits for them for ever. They cannot be
started again: they belong to variables of the shared library, which are set once. But the system loads a
shared library once for each file, with new variables each time. So a forked child loads it again, from a copy
of the file, when it first makes a request, if the library was used before the fork.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import obstore.exceptions
import obstore.store

from laila.contract import after_fork, locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["Library", "keep_for_ever", "library"]

_NATIVE = "obstore._obstore"


class Library:
    """One loaded library: the parts of it that the pool uses."""

    def __init__(self, store: ModuleType, exceptions: ModuleType) -> None:
        self.S3Store: type[obstore.store.S3Store] = store.S3Store
        self.BaseError: type[Exception] = exceptions.BaseError
        self.InvalidPathError: type[Exception] = exceptions.InvalidPathError
        self.used = False
        """Whether it has made a request, and so whether its threads run."""


_library = Library(obstore.store, obstore.exceptions)
_forked = False
_lock = locks.long_lock()


def library() -> Library:
    """Return the library that works in this process. Raises ``OSError`` if it cannot be loaded again."""
    global _library, _forked
    if _forked:
        with _lock:
            if _forked:
                if _library.used:
                    _library = _load_again()
                _forked = False
    return _library


def keep_for_ever(what: object) -> None:
    """Never free ``what``: the parent's objects in a forked child. Freeing them may wait for threads."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _load_again() -> Library:
    spec = importlib.util.find_spec(_NATIVE)
    if spec is None or spec.origin is None:
        raise OSError(f"the file of {_NATIVE} is not to be found")
    before = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "obstore"
    }
    keep_for_ever(before)
    with _copy(spec.origin) as path:
        finder = _Finder(path)
        sys.meta_path.insert(0, finder)
        try:
            made = Library(
                importlib.import_module("obstore.store"), importlib.import_module("obstore.exceptions")
            )
        finally:
            sys.meta_path.remove(finder)
            # Other modules that import it get the library from before: their objects are of its classes.
            for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
                keep_for_ever(sys.modules.pop(name))
            sys.modules.update(before)
    return made


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the library's native module in another file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Called by the import system."""
        if fullname != _NATIVE:
            return None
        loader = importlib.machinery.ExtensionFileLoader(fullname, self._path)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


@contextmanager
def _copy(origin: str) -> Iterator[str]:
    """Yield the name of a copy of the file, until it is loaded."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("obstore", os.MFD_CLOEXEC)
        try:
            with open(origin, "rb") as file, open(fd, "wb", closefd=False) as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.TemporaryDirectory(prefix="laila-") as folder:
        path = os.path.join(folder, os.path.basename(origin))
        shutil.copyfile(origin, path)
        yield path


@after_fork
def _note_fork() -> None:
    global _forked
    _forked = True
