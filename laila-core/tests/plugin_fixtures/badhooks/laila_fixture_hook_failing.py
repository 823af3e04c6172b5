"""Fails while it registers what it brings."""

from __future__ import annotations

from laila.contract import hookimpl


@hookimpl
def laila_register_codecs(registry: object) -> None:
    raise ValueError("no codec today")


@hookimpl
def laila_policy_initialized() -> None:
    raise AssertionError("a plugin that failed to register is still called")
