"""FolderRecord: the modes, times, links and empty folders of a stored folder.

A folder is stored as a manifest: a nested dict of file names. No file is named ``.``, so that key of the root
is free: it refers to an entry that holds the record as plain data.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from laila.errors import CorruptEntryError
from laila.showing import shown

__all__ = ["RECORD", "FolderRecord", "check_name", "leaves_folder"]

RECORD = "."
"""The key of the record in the root of the manifest."""

_VERSION = 1


class FolderRecord:
    """The attributes of the files and folders below one folder, by path with ``/``; the root is ``""``.

    Attributes:
        files: ``(mode, mtime)`` of each file: permission bits, and nanoseconds since 1970-01-01 UTC.
        folders: The same of each folder.
        links: The target of each symbolic link.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, int]] = {}
        self.folders: dict[str, tuple[int, int]] = {}
        self.links: dict[str, str] = {}

    def to_data(self) -> dict[str, object]:
        """Return the record as plain data."""
        return {"version": _VERSION, "files": self.files, "folders": self.folders, "links": self.links}

    @classmethod
    def from_data(cls, data: object) -> FolderRecord:
        """Read a record that anybody may have written.

        Args:
            data: What the entry holds.

        Returns:
            The record. Its paths were checked: none leaves the folder.

        Raises:
            CorruptEntryError: It is no record.
        """
        record = cls()
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            raise CorruptEntryError("the entry '.' of the manifest is no record of a folder's files")
        for name, kept in (("files", record.files), ("folders", record.folders)):
            for path, attributes in _items(data, name):
                match attributes:
                    case (int(mode), int(mtime)) if 0 <= mtime < 2**63:
                        kept[_checked(path)] = (mode & 0o777, mtime)
                    case _:
                        raise CorruptEntryError(f"no mode and time of a file: {shown(attributes)}")
        for path, target in _items(data, "links"):
            if not isinstance(target, str) or not target or "\0" in target:
                raise CorruptEntryError(f"no target of a link: {shown(target)}")
            record.links[_checked(path)] = target
        return record


def _items(data: dict[object, object], name: str) -> list[tuple[object, object]]:
    table = data.get(name)
    if not isinstance(table, dict):
        raise CorruptEntryError(f"the record of a folder has no table {shown(name)}")
    return list(table.items())


def _checked(path: object) -> str:
    if not isinstance(path, str):
        raise CorruptEntryError(f"no path: {shown(path)}")
    for part in path.split("/") if path else ():
        check_name(part)
    return path


def check_name(name: object) -> str:
    """Return the name of a file or folder; refuse what would lead elsewhere.

    Args:
        name: The name, which anybody may have written.

    Raises:
        CorruptEntryError: It is none.
    """
    if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\0" in name or "\\" in name:
        raise CorruptEntryError(f"{shown(name)} is no name of a file in a folder")
    try:
        fits = len(name.encode()) <= 255
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise CorruptEntryError(f"{shown(name)} is no name that a file can have")
    return name


def leaves_folder(path: str, target: str) -> bool:
    """Whether a link at ``path`` to ``target`` may lead out of the folder.

    ``..`` is counted where a target begins with it. After a name it may mean anything, if that is a link.

    Args:
        path: The path of the link, whose folders are no links.
        target: What it points to.
    """
    parts = PurePosixPath(target).parts
    up = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or ".." in parts[up:] or up > path.count("/")
