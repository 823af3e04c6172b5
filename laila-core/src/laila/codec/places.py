"""Places inside a payload, as errors name them: ``payload['a'][3].b``."""

from __future__ import annotations

from laila.codec import tags
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.codec.rows import Row

__all__ = ["place"]

_PARTS = {
    tags.FRAME: {1: ".columns", 2: ".index", 3: ".attrs", 5: ".__dict__"},
    tags.SERIES: {1: ".name", 2: ".index", 3: ".attrs", 5: ".__dict__"},
    tags.FRAME_CLASS: {3: ".__dict__"},
}


def place(obj: object, row: Row, position: int) -> str:
    """The step from ``obj``, whose row is ``row``, to the field at ``position``, such as ``['a']``."""
    tag = row[0]
    if tag in tags.SEQUENCES:
        return f"[{position - tags.SEQUENCES[tag]}]"
    if tag in tags.MAPPINGS:
        number, is_value = divmod(position - tags.MAPPINGS[tag], 2)
        if number < 0:
            return ".__dict__"
        keys = list(obj)  # type: ignore[call-overload]  # a mapping, as its tag says
        if not is_value or number >= len(keys):
            return f".keys()[{number}]"
        key = keys[number]
        return f"[{shown(key, 80)}]"
    if tag in tags.ATTRIBUTES:
        first = tags.ATTRIBUTES[tag]
        if tag == tags.EXCEPTION and position < first:
            return {3: ".args", 5: ".__cause__", 6: ".__context__"}.get(position, "")
        return f".{row[position - 1]}" if position >= first and (position - first) % 2 else ""
    if tag in _PARTS:
        return _PARTS[tag].get(position, "")
    if tag in tags.SETS:
        return ".{member}"
    if tag == tags.OBJECT_ARRAY:
        labels = getattr(obj, "labels", None)  # of an array inside a pandas object
        return labels(position - 3) if labels else f".flat[{position - 3}]"
    if tag == tags.REBUILT and position > 1:
        from laila.codec.recipes import RECIPES

        return f".{RECIPES[type(obj)].labels[position - 2]}"
    return ""
