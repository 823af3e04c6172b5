"""What a program that a suite has started does first: read its order, and build the plugin to be used."""

from __future__ import annotations

import importlib
import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NOT_IMPORTABLE", "build", "hear", "say"]

NOT_IMPORTABLE = 77
"""The exit code of a program that cannot import what it is to use."""


def hear() -> Any:
    """Return the next line of JSON on standard input; None where there will be none."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def say(what: object) -> None:
    """Write a line of JSON to standard output."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def build(order: dict[str, Any]) -> Any:
    """Build what :func:`laila.testing.programs.describe` has described."""
    try:
        made: Any = importlib.import_module(order["module"])
        for name in order["name"].split("."):
            made = getattr(made, name)
    except (ImportError, AttributeError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(NOT_IMPORTABLE)
    return made(**order["options"])
