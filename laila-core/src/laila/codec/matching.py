"""Plans for comparing objects, by kind: the methods to use, and whether identity counts."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from fractions import Fraction
from functools import lru_cache
from types import CodeType, FunctionType, MappingProxyType, MethodType, SimpleNamespace

from laila.codec.leftout import is_of_standard
from laila.codec.parts import BY_NAME, slots_of
from laila.codec.registry import PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MERGED", "NOTHING", "VALUES", "plan_of"]

_UNSHARED = (tuple, frozenset, FunctionType, MethodType, CodeType, *BY_NAME)
MERGED = frozenset({list, dict, set, bytearray, deque})
_WITH_ATTRIBUTES = frozenset({SimpleNamespace, OrderedDict, Counter})
NOTHING = (None, None, False, False)
VALUES: tuple[Any, ...] = (str, bytes, bytearray, int, float, complex)
_CONTENTS: tuple[tuple[Any, str], ...] = (
    (dict, "_mapping"),
    ((list, tuple, deque), "_sequence"),
    ((set, frozenset), "_members"),
    (VALUES, "_values"),
)


@lru_cache(maxsize=4096)
def _is_default(kind: Any) -> bool:
    """Whether copies of a ``kind`` are its attributes and contents, with no word of the class's own."""
    from laila.codec.classkinds import copies_by_default

    return copies_by_default(kind, new_args=True)


@lru_cache(maxsize=4096)
def _is_pickled(kind: Any) -> bool:
    """Whether a ``kind`` has attributes, and says itself how it is copied."""
    if not kind.__dictoffset__ and not slots_of(kind):
        return False
    from laila.codec.objects import encoder_of_class
    from laila.codec.registry import ENCODERS, codec_of

    return kind not in ENCODERS and (
        codec_of(kind) is not None or encoder_of_class(kind).__name__ == "encode_pickled"
    )


@lru_cache(maxsize=4096)
def plan_of(kind: Any) -> tuple[str | None, str | None, bool, bool]:
    """How a ``kind`` is compared: methods for its contents and its state, and what its identity is worth.

    The last two: whether one object that became two would be missed, and whether it is looked at once alone.
    """
    shared = not issubclass(kind, _UNSHARED)
    if kind in PARTS:
        return "_rebuilt", None, False, shared
    if kind is FunctionType:
        return "_functions", None, False, shared
    if kind is MethodType:
        return "_methods", None, False, shared
    if issubclass(kind, BY_NAME):
        return "_names", None, False, shared
    content = next((name for base, name in _CONTENTS if issubclass(kind, base)), None)
    state: str | None = None
    counts = kind in MERGED or kind in _WITH_ATTRIBUTES
    if issubclass(kind, BaseException):
        content, state = "_exceptions", "_fields"
    elif content is None and _is_library_type(kind, "numpy", "ndarray"):
        content, state = "_arrays", None if kind.__module__ == "numpy" else "_kept"
    elif content is None and _is_library_type(kind, "torch", "Tensor"):
        content = "_tensors"
    elif kind is Fraction:
        content = "_parts_of_fraction"
    elif kind is MappingProxyType:
        content = "_behind"
    elif kind is slice or is_of_standard(kind):
        content = "_copied"
        state = "_kept" if kind.__module__ != "builtins" and _is_pickled(kind) else None
    elif kind.__module__ != "builtins" and not _is_of_tables(kind):
        if kind in _WITH_ATTRIBUTES or _is_default(kind):
            state, counts = "_fields", True
        elif _is_pickled(kind):
            state = "_kept"
    return (content, state, counts, shared) if content or state else NOTHING


def _is_of_tables(kind: type) -> bool:
    """Whether a ``kind`` is pandas' or Arrow's own: they keep caches among their attributes."""
    from laila.codec.registry import ENCODERS, module_of

    return module_of(kind).partition(".")[0] in ("pandas", "pyarrow") and kind in ENCODERS


def _is_library_type(kind: type, library: str, name: str) -> bool:
    base = getattr(sys.modules.get(library), name, None)
    return isinstance(base, type) and issubclass(kind, base)
