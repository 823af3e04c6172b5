"""Files and folders of keys are trusted by ssh's rules: not if others own them or may write to them.

Somebody who can put a key into the folder decides what is signed and what is run here. So the ``secrets``
directory, the folder of the keys in it, and each key must belong to this user, or to root, and nobody else
may write there; a key must not be readable by others either.
"""

from __future__ import annotations

import os
import stat

from laila.errors import SecretError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check", "read"]


def check(path: Path, status: os.stat_result, ring: str, *, private: bool = False) -> None:
    """Raise :class:`SecretError` where others own ``path`` or may write to it.

    Args:
        path: The file or folder, for the message.
        status: What the system says about it.
        ring: The name of the keyring, for the error.
        private: Whether a file of this user's must not be readable by others either.
    """
    if not hasattr(os, "getuid"):  # Windows keeps rights in another way
        return
    me = os.getuid()
    if status.st_uid not in (me, 0):
        raise SecretError(
            f"{path} belongs to another user (uid {status.st_uid}), who could put keys there, and is not "
            "trusted with any. Use a folder of your own (LAILA_HOME, laila.set_default_directory), or "
            f"take it: chown {me} {path}",
            name=ring,
        )
    mode = stat.S_IMODE(status.st_mode)
    refused = 0o077 if private and status.st_uid == me else 0o022
    if mode & refused:
        do = "read or change it" if refused == 0o077 else "write to it"
        raise SecretError(
            f"{path} has the mode {mode:04o}: others may {do}, so it is not trusted with keys. Close it: "
            f"chmod {'go-rwx' if refused == 0o077 else 'go-w'} {path}",
            name=ring,
        )


def read(path: Path, ring: str, *, private: bool = True) -> str:
    """Return the content of a file of the keys' folder; others must not read it if it is ``private``.

    Raises:
        SecretError: it is not to be trusted. What the system raises comes through.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(number, encoding="ascii") as file:
        check(path, os.fstat(number), ring, private=private)
        return file.read(1 << 16)
