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
_WITHOUT_CASE = 4
_FLAG_BITS = 9
_VERSION, _WORDS = 3, 625
_is_wide = re.compile(r"[^\0-\x7f]|\\[^\w]|\\[uUxN0-9]").findall


def _ranges(pattern: Any, flags: int) -> int:
    """How many ranges of characters may be in a pattern that take as long to compile as they are wide."""
    text = pattern if type(pattern) is str else ""
    if "[" not in text:
        return 0
    count = len(_is_wide(text))
    return count * (_WITHOUT_CASE if flags & re.IGNORECASE or "(?" in text else 1)


def _take_pattern(value: re.Pattern[Any]) -> tuple[object, ...] | None:
    short = type(value.pattern) in (str, bytes) and len(value.pattern) <= _LONGEST
    return (value.pattern, value.flags) if short and not value.flags & re.DEBUG else None  # which prints


def _build_pattern(decoder: Decoder, pattern: Any, flags: int) -> object:
    if flags >> _FLAG_BITS or flags & re.DEBUG or len(pattern) > _LONGEST:
        raise ValueError("a pattern that laila does not write")
    if type(pattern) is bytes:
        decoder.copied(pattern)
    return re.compile(pattern, flags)


def _take_random(value: random.Random) -> tuple[object, ...] | None:
    if vars(value).keys() != {"gauss_next"}:
        return None
    version, words, gauss = value.getstate()
    return version, words, gauss


def _build_random(decoder: Decoder, version: int, words: tuple[Any, ...], gauss: float | None) -> object:
    if version != _VERSION or len(words) != _WORDS or {int} != set(map(type, words)):
        raise ValueError("the state of another generator")
    *numbers, place = words
    if min(numbers) < 0 or max(numbers) >= 1 << 32 or not 0 <= place <= len(numbers):
        raise ValueError("a state that is out of range")
    decoder.again("random", words, 4 * len(words))
    result = random.Random(0)  # noqa: S311 - what somebody stored, and no secret
    result.setstate((version, words, gauss))
    return result


add_recipe(
    Recipe(
        "re.Pattern", re.Pattern, _take_pattern, _build_pattern, _ranges, pattern=(str, bytes), flags=(int,)
    )
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
