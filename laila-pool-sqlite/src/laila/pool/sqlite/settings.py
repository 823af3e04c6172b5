"""The options of the pool, and where its file is if nobody says."""

from __future__ import annotations

import os
from typing import Literal
from urllib.parse import quote

from laila.contract import Settings, directory, option, shown
from laila.errors import SettingsError
from laila.pool.sqlite.bound import LEAST_BYTES

__all__ = ["SQLiteSettings", "default_path"]


class SQLiteSettings(Settings):
    """The options of :class:`SQLitePool`."""

    prefix = "sqlite"

    path: str | None = option(
        default=None,
        help="the file, made if missing; by default `laila.db` or `<nickname>.db` in the `pools` directory",
    )
    durable: Literal["power", "process"] = option(
        printed=True,
        default="power",
        help="what a finished write survives: a power failure, or (quicker) only the death of the process",
    )
    lock_timeout: float = option(
        printed=True, default=30.0, help="seconds to wait for other threads and processes that write"
    )
    read_only: bool = option(printed=True, default=False, help="never write, and make no file")
    max_bytes: int | None = option(
        printed=True,
        default=None,
        help="makes it a cache: above this size, what was used least recently goes; unset: nothing goes",
    )

    def check(self) -> None:
        """Check the values that no type describes.

        Raises:
            SettingsError: no pool can have such a value.
        """
        if not 0 <= self.lock_timeout <= 1e6:
            raise SettingsError(
                f"lock_timeout={shown(self.lock_timeout)} is no number of seconds from 0 to a million",
                option="lock_timeout",
            )
        if self.max_bytes is not None and self.max_bytes < LEAST_BYTES:
            raise SettingsError(
                f"max_bytes={shown(self.max_bytes)}: give a number of bytes from {LEAST_BYTES}, such as "
                "1000000000",
                option="max_bytes",
            )
        if self.path is not None and (not self.path or "\0" in self.path):
            raise SettingsError(f"path={shown(self.path)} is no name of a file", option="path")


def default_path(nickname: str | None) -> str:
    """Return the file of a pool without a path: each nickname has its own."""
    # Named pools each have a file of their own: what a path cannot hold is quoted.
    name = "laila" if nickname is None else quote(nickname, safe=" !#$&'()+,;=@[]{}~").replace(".", "%2E")
    return os.path.join(directory("pools"), f"{name}.db")
