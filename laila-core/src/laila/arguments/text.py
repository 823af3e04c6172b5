"""What a text value reads as: the rule for ``.env``, XML and the terminal, which know text only."""

from __future__ import annotations

import json
import re

__all__ = ["read_value"]

_WORDS: dict[str, object] = {"true": True, "false": False, "none": None, "null": None}
# As JSON writes integers: 007 and 1_000 are no numbers but an agent and a label.
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(  # as TOML writes floats, and 5. and .5
    r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?|inf|nan)",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_NUMBER = 4000  # Python refuses to convert more digits than 4,300


def read_value(text: str) -> object:
    """Return the bool, ``None``, int, float or JSON that ``text`` spells, and the text itself otherwise.

    ``"5"`` and ``'5'``, with their quotes, are the text ``5``.
    """
    word = text.strip()
    lower = word.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if len(word) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(word):
            return int(word)
        if _FLOAT.fullmatch(word):
            return float(word)
    if len(word) >= 2 and word[0] == word[-1] == "'":
        return word[1:-1]
    if word[:1] in ("{", "[", '"'):
        try:
            return json.loads(word)
        except (ValueError, RecursionError):
            # Not JSON after all: "[draft] title" is a text. '"a\b"' is one in quotes that are not JSON's.
            return word[1:-1] if len(word) >= 2 and word[0] == word[-1] == '"' else text
    return text
