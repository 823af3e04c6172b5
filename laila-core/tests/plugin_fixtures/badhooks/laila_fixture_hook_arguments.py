"""Asks for an argument that the hook does not have; the hook before it is fine."""

from __future__ import annotations

from laila.contract import hookimpl


@hookimpl
def laila_entry_created(entry: object) -> None:
    raise AssertionError("half of this plugin was registered")


@hookimpl
def laila_policy_initialized(payload: object) -> None:
    pass
