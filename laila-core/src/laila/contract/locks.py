"""The locks that plugins share with the core: see :mod:`laila.locks` for the two rules they keep."""

from __future__ import annotations

from laila.locks import (
    check_free,
    check_may_use,
    check_may_wait,
    long_lock,
    mutex,
    refuse_reentry,
    serve_others,
    starting,
)

__all__ = [
    "check_free",
    "check_may_use",
    "check_may_wait",
    "long_lock",
    "mutex",
    "refuse_reentry",
    "serve_others",
    "starting",
]
