"""The command ``laila``. A command is one module in :mod:`laila.cli.commands`."""

from __future__ import annotations

from laila.cli.main import main

__all__ = ["main"]
