"""Recipes of the standard library: compiled regular expressions, and random generators with their state."""

from __future__ import annotations

import random
import re

from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_LONGEST = 8192
_WORK = 200  # of compiling one character
_MAX_RANGES = 8
_FLAG_BITS = 9
_COLUMNS, _WORDS = 3, 625


def _is_cheap(pattern: Any, flags: int) -> bool:
    """Whether a pattern compiles in time that grows with its length alone, and printing nothing.

    Without regard to case a range of a few characters takes as long as the range is wide.
    """
    if len(pattern) > _LONGEST or flags & re.DEBUG:
        return False
    text = pattern if type(pattern) is str else pattern.decode("latin-1")
    if not flags & re.IGNORECASE and "(?" not in text:
        return True
    odd = sum(not character.isascii() for character in text) if type(pattern) is str else 0
    return odd + text.count("\\") <= _MAX_RANGES or "[" not in text


def _take_pattern(value: re.Pattern[Any]) -> tuple[object, ...] | None:
    parts = (value.pattern, value.flags)
    return parts if type(value.pattern) in (str, bytes) and _is_cheap(*parts) else None


def _build_pattern(decoder: Decoder, pattern: Any, flags: int) -> object:
    if flags >> _FLAG_BITS or not _is_cheap(pattern, flags):
        raise ValueError("a pattern that may take too long to compile")
    decoder.spend(_WORK * len(pattern))
    return re.compile(pattern, flags)


def _take_random(value: random.Random) -> tuple[object, ...] | None:
    if vars(value).keys() != {"gauss_next"}:
        return None
    version, words, gauss = value.getstate()
    return version, words, gauss


def _build_random(decoder: Decoder, version: int, words: tuple[Any, ...], gauss: float | None) -> object:
    if version != _COLUMNS or len(words) != _WORDS or {int} != set(map(type, words)):
        raise ValueError("the state of another generator")
    *numbers, place = words
    if min(numbers) < 0 or max(numbers) >= 1 << 32 or not 0 <= place <= len(numbers):
        raise ValueError("a state that is out of range")
    decoder.again("random", words, 4 * len(words))
    found = random.Random(0)  # noqa: S311 - what somebody stored, and no secret
    found.setstate((version, words, gauss))
    return found


add_recipe(
    Recipe("re.Pattern", re.Pattern, _take_pattern, _build_pattern, pattern=(str, bytes), flags=(int,))
)
add_recipe(
    Recipe(
        "random.Random",
        random.Random,
        _take_random,
        _build_random,
        version=(int,),
        words=(tuple,),
        gauss_next=(float, type(None)),
    )
)
