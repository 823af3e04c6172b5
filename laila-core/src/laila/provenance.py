"""Where options come from: code, or data that somebody else may have written.

An environment dict, and a URL on a command line, are data. While :func:`options_from_data` is entered,
settings that are resolved take nothing from what they are given that names a program or stands for the user,
and send the user's own secrets only where the user's own configuration sends them. How an option says so:
:func:`laila.settings.option`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Data", "current_data", "options_from_data"]


class Data(NamedTuple):
    """Options that were not written in code: who reads them, and what was kept from them."""

    trusted: frozenset[str]
    """The options that came from code."""
    withheld: list[str]
    """The places of secrets that are the user's and were not used, such as ``LAILA_BOX_PASSWORD``."""


_data: ContextVar[Data | None] = ContextVar("laila_options_from_data", default=None)


@contextmanager
def options_from_data(trusted: Iterable[str] = ()) -> Iterator[Data]:
    """Resolve in the body what was given as data: an environment dict, or a URL from a terminal.

    Options declared with ``from_data=False`` are refused there, and secrets in ``laila.args`` and the
    environment count as missing, unless all options with ``binds=`` are what they would be without the data.
    ``trusted`` names the options that code has given beside the data.
    """
    data = Data(frozenset(trusted), [])
    token = _data.set(data)
    try:
        yield data
    finally:
        _data.reset(token)


def current_data() -> Data | None:
    """Return what the settings that are resolved now are given as; None: as code."""
    return _data.get()
