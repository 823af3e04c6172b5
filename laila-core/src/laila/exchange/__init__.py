"""Files and folders in and out of pools: what people have without laila, and what they give to others."""

from __future__ import annotations

from laila.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.exchange.getting import get_path
    from laila.exchange.putting import put_path

__all__ = ["get_path", "put_path"]

if not TYPE_CHECKING:
    __getattr__ = lazily(
        __name__, {"get_path": "laila.exchange.getting", "put_path": "laila.exchange.putting"}
    )
