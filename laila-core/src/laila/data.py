"""The place of the pools in laila-core 1.0.11 and 1.0.12. An import from here says where a pool is now."""

from __future__ import annotations

from laila.former import FORMER
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__: list[str] = []


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(f"module 'laila.data' has no attribute {shown(name)}", name=name)
    advice = FORMER.get(name) or f"the pools are in laila.pool: from laila.pool import {shown(name)[1:-1]}"
    raise ImportError(f"laila.data is of laila-core 1.x: {advice}", name="laila.data")
