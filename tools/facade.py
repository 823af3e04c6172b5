"""Write laila/__init__.pyi, which tells type checkers the names that laila/__init__.py imports when asked.

The names stand in `__init__.py` alone: `_HOMES`, and the annotations of the live names.

Usage: python tools/facade.py [check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import laila

STUB = Path(__file__).parents[1] / "laila-core" / "src" / "laila" / "__init__.pyi"
HEAD = "# What type checkers see of laila. `make facade` writes this file from laila/__init__.py."
# What type checkers take from elsewhere, or know by its type alone.
ELSEWHERE = {
    "PythonThreadPoolTaskForce": "laila.taskforce.threads",  # the package finds it when it runs
}
TYPES = {
    "DefaultTCPIPProtocol": "type[Any]",  # its distribution need not be there for laila to be checked
    "LAILA_UNIVERSAL_NAMESPACE": "UUID",
    "__version__": "str",
}
STANDARD = ["from collections.abc import Mapping", "from typing import Any", "from uuid import UUID"]


def text() -> str:
    """The stub that belongs to the names of laila."""
    homes = vars(laila)["_HOMES"]
    imports = {"from laila.arguments import args as args"}
    second, types = [], []
    for name, home in homes.items():
        module, attribute = home if type(home) is tuple else (home, name)
        if name in TYPES:
            types.append(f"{name}: {TYPES[name]}")
        elif attribute is None:
            imports.add(f"from laila import {name} as {name}")
        elif attribute == name:
            imports.add(f"from {ELSEWHERE.get(name, module)} import {name} as {name}")
        else:  # an import under another name is not exported to a strict type checker
            second.append(f"{name} = {attribute}")
    live = [f"{name}: {kind}" for name, kind in type(laila).__annotations__.items()]
    listed = ["__all__ = [", *(f'    "{name}",' for name in laila.__all__), "]"]
    parts = [STANDARD, sorted(imports), second, types, live, listed]
    return "\n\n".join([HEAD, *("\n".join(part) for part in parts)]) + "\n"


def main(arguments: list[str]) -> int:
    """Write the stub, or check that it is up to date."""
    wanted = text()
    if arguments == ["check"]:
        return int(STUB.read_text() != wanted)
    STUB.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
