"""How much memory this process has, as Linux counts it: resident pages, those of mapped files among them."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

__all__ = ["live_objects", "peak", "resident", "start_peak"]


def resident() -> float:
    """The resident memory now, in MiB, after the garbage went back to the system."""
    settle()
    return _status("VmRSS")


def start_peak() -> float:
    """Begin a new peak at what is resident now; return that in MiB. See proc(5), ``clear_refs``."""
    now = resident()
    Path("/proc/self/clear_refs").write_text("5")
    return now


def peak() -> float:
    """The most that was resident since :func:`start_peak`, in MiB."""
    return _status("VmHWM")


def live_objects() -> int:
    """How many objects the garbage collector knows, garbage left out."""
    gc.unfreeze()
    gc.collect()
    return len(gc.get_objects())


def settle() -> None:
    """Collect garbage, and give free pages back where the C library can (glibc: malloc_trim)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, name
    return int(found[1]) / 1024
