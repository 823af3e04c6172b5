"""Open the pool that a command names by its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laila.contract.pool import Pool

__all__ = ["open_to_change", "open_to_look"]


def open_to_look(url: str) -> Pool:
    """Open the pool, read-only if its class can: looking must not make a file or hold a lock."""
    from inspect import signature

    from laila.central.router import open_pool
    from laila.plugins import pools
    from laila.provenance import options_from_data

    scheme, colon, _ = url.partition(":")
    options: dict[str, object] = {}
    if colon and scheme:
        # Read from __init__, because the base class has a __new__ that takes anything.
        parameters = signature(pools().get(scheme.lower()).__init__).parameters  # type: ignore[misc]
        if "read_only" in parameters:
            options["read_only"] = True
    with options_from_data(options):  # somebody else may have sent the URL
        return open_pool(url, **options)


def open_to_change(url: str) -> Pool:
    """Open the pool to write to it. Somebody else may have sent the URL: it cannot set every option."""
    from laila.central.router import open_pool
    from laila.provenance import options_from_data

    with options_from_data({}):
        return open_pool(url)
