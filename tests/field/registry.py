"""The libraries whose objects are tried, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["LIBRARIES", "library"]

LIBRARIES: dict[str, Callable[[], dict[str, Any]]] = {}


def library(build: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Register the function that builds the objects of the library that it is named after."""
    LIBRARIES[build.__name__] = build
    return build
