"""Files and folders in and out of pools: what people have without laila, and what they give to others."""

from __future__ import annotations

from laila.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.exchange.exporting import export
    from laila.exchange.getting import get_path
    from laila.exchange.importing import import_file
    from laila.exchange.putting import put_path

__all__ = ["export", "get_path", "import_file", "put_path"]

_HOMES = {
    "export": "laila.exchange.exporting",
    "get_path": "laila.exchange.getting",
    "import_file": "laila.exchange.importing",
    "put_path": "laila.exchange.putting",
}

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, _HOMES)
