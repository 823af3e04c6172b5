"""An async hook, whose coroutine nobody would await."""

from __future__ import annotations

from laila.contract import hookimpl


@hookimpl
async def laila_policy_initialized() -> None:
    pass
