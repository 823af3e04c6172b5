"""How tasks and results are pickled on their way: by loky, and classes of a script with their slots."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from loky.backend.reduction import get_loky_pickler, loads

from laila.contract import reduce_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dumps", "loads"]


@lru_cache(maxsize=4)
def _pickler(base: Any) -> Any:
    class Pickler(base):  # type: ignore[misc]  # it has no types
        def reducer_override(self, obj: object) -> Any:
            reduced = reduce_class(obj)
            if reduced is None and hasattr(base, "reducer_override"):
                return super().reducer_override(obj)
            return NotImplemented if reduced is None else reduced

    return Pickler


def dumps(value: object) -> memoryview:
    """Pickle by loky's means, cloudpickle."""
    stream = BytesIO()
    _pickler(get_loky_pickler())(stream).dump(value)
    return stream.getbuffer()
