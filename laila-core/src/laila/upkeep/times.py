"""Lengths of time as people write them: ``30d``, ``12h``."""

from __future__ import annotations

import re
from math import isfinite

from laila.errors import SettingsError
from laila.showing import shown

__all__ = ["seconds_of", "time_of"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_read = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([smhdw])", re.ASCII).fullmatch


def seconds_of(length: object, option: str) -> float:
    """Return the seconds of a length such as ``30d``, ``12h``, ``90m``, ``45s`` or ``2w``, or of a number.

    Args:
        length: The text, or a number of seconds.
        option: The name of the option, for the error.

    Returns:
        Seconds, 0 or more.

    Raises:
        SettingsError: It is no length of time.
    """
    if isinstance(length, (int, float)) and not isinstance(length, bool) and isfinite(length) and length >= 0:
        return float(length)
    match = _read(length) if isinstance(length, str) else None
    if match is None:
        raise SettingsError(
            f"{shown(length)} is no length of time: write a number and one of s, m, h, d, w, such as 30d; or "
            "give seconds as a number",
            option=option,
        )
    return float(match[1]) * _UNITS[match[2]]


def time_of(seconds: float) -> str:
    """Return a length of time for people: ``3 d``, ``5 h``, ``12 s``."""
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNITS[unit]:
            return f"{seconds / _UNITS[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"
