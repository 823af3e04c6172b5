"""A wrapper, which could change what it wraps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import hookimpl

if TYPE_CHECKING:
    from collections.abc import Generator


@hookimpl(wrapper=True)
def laila_policy_initialized() -> Generator[None, object, object]:
    return (yield)
