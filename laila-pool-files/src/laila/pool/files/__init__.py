"""A laila pool in a folder: one file an entry, never torn, shared by many processes."""

from __future__ import annotations

from laila.pool.files.pool import FilesystemPool, FilesystemSettings

__all__ = ["FilesystemPool", "FilesystemSettings"]
