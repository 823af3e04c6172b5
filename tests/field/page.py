"""The page of supported types, from what the corpus of real objects does; prints nothing.

usage, in `tests`: ../.venv-field/bin/python -m field.page
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "written"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "supported-types.md"
HEAD = """\
# Supported types

A payload comes back as it was, or `memorize` refuses it and names the place. The way it is stored decides
who can read it:

- **As data**: everybody who can read the pool. No code runs, and no key is needed.
- **Signed**: only where the key is known that signed it (`laila keys`, see
  [Trust](../explanation/trust.md)). Objects with code of their own are stored so: by their fields or
  by pickle. `laila.register_type` makes your own classes data; `laila.codec.register_codec` any class.

The table below is made by a test. It builds {objects} objects of {libraries} libraries, stores them in HDF5
and, compressed and in base64, in a folder. It remembers them in a second process, and compares type, content
and state without laila's help. Every object came back the same, except those under "refused".

| library | as data | signed | refused |
| --- | --- | --- | --- |
"""
TAIL = """
Open files, sockets, locks, threads, generators, memory maps and views are refused everywhere: they belong to
the process. A plain container that contains itself is refused too.

Three things are not part of a value, and do not come back: that an array was
[read-only](api.md#memorize); that objects of different kinds [share memory](api.md#memorize) (a warning says
so); and the [traceback](../how-to/store-your-own-classes.md#exceptions) of an exception.

More about single kinds: [views](api.md#views), [frames and tables](tables.md),
[your own classes](../how-to/store-your-own-classes.md), [the stored form](blob-format.md).
"""


def written(outcomes: dict[str, dict[str, Any]]) -> str:
    """The text of the page."""
    rows = []
    for library, stored in outcomes.items():
        cells = [
            ", ".join(name for name, outcome in stored.items() if outcome["stored"] == how)
            for how in ("data", "signed", "refused")
        ]
        rows.append(f"| `{library}` | {' | '.join(cells)} |\n")
    count = sum(map(len, outcomes.values()))
    return HEAD.format(objects=count, libraries=len(outcomes)) + "".join(rows) + TAIL


def main() -> None:
    """Write the page."""
    from field.corpus import LIBRARIES
    from field.test_corpus import run

    outcomes: dict[str, dict[str, Any]] = {}
    for name in LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            outcomes |= run("store", Path(folder), [name])
    PAGE.write_text(written(outcomes))


if __name__ == "__main__":
    main()
