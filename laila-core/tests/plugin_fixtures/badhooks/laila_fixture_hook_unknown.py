"""Implements a hook that does not exist, beside one that does: neither may be registered."""

from __future__ import annotations

from laila.contract import hookimpl


@hookimpl
def laila_policy_initialized() -> None:
    raise AssertionError("half of this plugin was registered")


@hookimpl
def laila_no_such_hook() -> None:
    pass
