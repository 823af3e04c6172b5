"""The payloads of the workloads, the same in every process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["large_array", "small_bytes", "small_dict"]


def small_dict(number: int) -> dict[str, Any]:
    """A dict of about 1 KiB when it is pickled: numbers, text, a list and a nested dict."""
    return {
        "step": number,
        "loss": 0.25 + number / 1000,
        "name": f"run-{number:06d}",
        "tags": ["train", "validation", "digits"],
        "history": [number / (one + 1) for one in range(50)],
        "config": {"rate": 0.01, "layers": [64, 32, 10], "activation": "relu", "seed": 7, "note": "x" * 220},
    }


def small_bytes(number: int, size: int = 1024) -> bytes:
    """Bytes that do not compress."""
    return random.Random(number).randbytes(size)


def large_array(mib: int) -> npt.NDArray[np.float64]:
    """A float64 array of so many MiB."""
    import numpy as np

    return np.random.default_rng(0).random(mib * 1024 * 1024 // 8)
