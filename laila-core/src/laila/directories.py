"""Where laila keeps its files: the root (``~/.laila``) and the directories in it.

Nothing is made when this module is imported: a directory appears, readable by its owner only, when something
is first kept in it. A home that cannot be written therefore hurts only what needs to write there.
"""

# os.path and not pathlib, whose import costs more than all the rest of `import laila`.

from __future__ import annotations

import os
import stat

from laila.errors import DirectoryError, SettingsError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LAILA_DEFAULT_DIRECTORIES", "directory", "private_folder", "set_default_directory"]

_INSIDE_ROOT = ("pools", "logs", "secrets")


def _derive(root: str) -> dict[str, str]:
    return {"root": root, **{name: os.path.join(root, name) for name in _INSIDE_ROOT}}


def _initial_root() -> str:
    # An empty LAILA_HOME counts as none, like every other LAILA_* variable. A relative one is bound to the
    # directory the process started in, so that a later chdir does not split one home into two.
    root = os.path.expanduser(os.environ.get("LAILA_HOME") or "~/.laila")
    return root if root.startswith("~") or os.path.isabs(root) else os.path.join(os.getcwd(), root)


LAILA_DEFAULT_DIRECTORIES: dict[str, str] = _derive(_initial_root())
"""Name to path: ``root``, ``pools``, ``logs``, ``secrets``. The variable ``LAILA_HOME`` moves the root."""


def set_default_directory(directory: str | os.PathLike[str]) -> None:
    """Move the root, and the three directories in it, to ``directory``; ``~`` stands for the home.

    Files that are already in the old place stay there. Nothing is made yet.

    Args:
        directory: The folder.

    Raises:
        SettingsError: ``directory`` is not a path.
    """
    root = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(root, str) or not root or "\0" in root:
        raise SettingsError(f"{shown(directory)} is no directory name", option="directory")
    LAILA_DEFAULT_DIRECTORIES.update(_derive(os.path.abspath(os.path.expanduser(root))))


def directory(name: str) -> Path:
    """Return the default directory ``name``, made (mode 0700, and the root before it) if it is not there.

    Raises :class:`~laila.errors.DirectoryError` (an ``OSError``) when it cannot be made. Safe to call
    from several threads and processes at once.

    Args:
        name: The name of the directory.

    Returns:
        Its path.
    """
    from pathlib import Path

    try:
        path = LAILA_DEFAULT_DIRECTORIES[name]
    except KeyError:
        known = ", ".join(LAILA_DEFAULT_DIRECTORIES)
        raise SettingsError(
            f"there is no default directory {shown(name)}; there are {known}", option=name
        ) from None
    root = LAILA_DEFAULT_DIRECTORIES["root"]
    try:
        if path.startswith("~"):
            raise FileNotFoundError("this user has no home directory")
        # makedirs gives its mode to the last directory only, hence the root first.
        for step in (root, path) if os.path.dirname(path) == root else (path,):
            os.makedirs(step, mode=0o700, exist_ok=True)
    except OSError as error:
        raise DirectoryError(
            f"cannot make laila's directory {shown(path)} ({error.strerror or error}): set the environment "
            "variable LAILA_HOME, or call laila.set_default_directory(...), to a place that can be written",
            directory=path,
        ) from error
    return Path(path)


def private_folder(path: str | os.PathLike[str]) -> int:
    """Open the folder ``path``, made with mode 0700 if it is not there, and return its file descriptor.

    It is for files that nobody else may put there or replace: locks, sockets, notes. A link is refused, and
    so is a folder that belongs to another user or that others can write to. Use the descriptor (``dir_fd=``)
    for all work in the folder: it means this very folder, whatever its name means later. The caller closes
    it.

    Raises :class:`~laila.errors.DirectoryError` that says who else may be in it, and ``OSError`` where it
    cannot be made or opened.

    Args:
        path: The folder.

    Returns:
        The file descriptor.
    """
    path = os.path.abspath(path)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if os.path.islink(path):
            raise _not_private(path, "it is a link") from error
        raise
    why = _intruders(os.fstat(fd))
    if why is None:
        return fd
    os.close(fd)
    raise _not_private(path, why)


def _intruders(status: os.stat_result) -> str | None:
    """Who else may write to a folder; None where nobody may."""
    if status.st_uid != os.geteuid():
        return f"it belongs to the user {status.st_uid}, and this process is the user {os.geteuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to it (mode {stat.S_IMODE(status.st_mode):04o}; chmod 700 takes that away)"
    return None


def _not_private(path: str, why: str) -> DirectoryError:
    return DirectoryError(
        f"{shown(path)} cannot be used as a folder of this user alone: {why}. Look who put it there, and "
        "remove it or name another place",
        directory=path,
    )
