"""The regular expressions of a package, and inputs that are made to be slow for them.

A pattern backtracks where a repetition can end at many places and what follows does not match. So the inputs
repeat what a repetition repeats, after what leads to it, and end in what does not match.
"""

from __future__ import annotations

import ast
import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinMethodType, ModuleType
from typing import Any

__all__ = ["Use", "slow_input", "uses_of"]

METHODS = ("match", "fullmatch", "search", "sub", "findall", "finditer", "split", "subn")
LENGTHS = (16, 22, 60, 200, 600, 1600, 6400, 25_600)
# A step of the matcher takes some nanoseconds: a linear pattern is done within a millisecond, one that is
# quadratic needs a second. What counts is the time of this thread, so that the load of the machine does not.
SECONDS = 0.1
# Ends of an input: what few patterns allow.
ENDS = ("", "\0", "!", "\n", " ")


@dataclass(frozen=True)
class Use:
    """A pattern, and the method that is called on it."""

    pattern: re.Pattern[Any]
    method: str
    place: str

    def seconds(self, text: str) -> float:
        """What the method takes for a text."""
        subject: Any = text.encode("utf-8") if isinstance(self.pattern.pattern, bytes) else text
        call = getattr(self.pattern, self.method)
        began = time.thread_time()
        if self.method in {"sub", "subn"}:
            call(subject[:0], subject)
        elif self.method == "finditer":
            list(call(subject))
        else:
            call(subject)
        return time.thread_time() - began


def uses_of(module: ModuleType, source: str) -> Iterator[Use | str]:
    """Each pattern of a module with the methods it is used by; a text for each that cannot be found out."""
    tree = ast.parse(source)
    called: dict[str, set[str]] = {}
    named: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS:
            called.setdefault(node.value.id, set()).add(node.attr)
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            named.update(ast.walk(statement))
    for name, value in vars(module).items():
        if isinstance(value, re.Pattern):
            for method in called.get(name) or {"match", "fullmatch", "search"}:
                yield Use(value, method, f"{module.__name__}.{name}")
        elif isinstance(value, BuiltinMethodType) and isinstance(value.__self__, re.Pattern):
            yield Use(value.__self__, value.__name__, f"{module.__name__}.{name}")
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
        ):
            continue
        place, function = f"{module.__name__}:{node.lineno}", node.func.attr
        if function in METHODS and isinstance(node.args[0], ast.Constant):
            yield Use(re.compile(node.args[0].value), function, place)
        elif function != "escape" and node not in named:
            yield f"{place}: give the pattern a name at the top of the module, or write it out here"


def slow_input(use: Use) -> str | None:
    """An input for which a pattern takes longer than it may, in short; `None` where none was found."""
    for length in LENGTHS:
        for name, text in _inputs(use.pattern, length):
            # Once more where it was close: a thread is also charged for what the machine does in its name.
            took = use.seconds(text)
            if took > 5 * SECONDS or (took > SECONDS and use.seconds(text) > SECONDS < use.seconds(text)):
                return f"{use.place}: {use.method} takes over {SECONDS} s for {length} bytes: {name}"
    return None


def _inputs(pattern: re.Pattern[Any], length: int) -> Iterator[tuple[str, str]]:
    done = set[str]()
    for before, units in _repetitions(list(_parsed(pattern)), ""):
        for unit in units:
            many = unit * (length // len(unit))
            few = unit * max(1, min(50, length // 8) // len(unit))
            lead = before * (length // max(1, len(before)))
            block = (before + few) * (length // len(before + few))
            for body, name in (
                (before + many, f"{before!r} + {unit!r} * n"),
                (many, f"{unit!r} * n"),
                (lead, f"{before!r} * n"),
                (block, f"({before!r} + {unit!r} * 50) * n"),
            ):
                for end in ENDS:
                    if body + end not in done:
                        done.add(body + end)
                        yield f"{name} + {end!r}", body + end


def _parsed(pattern: re.Pattern[Any]) -> Any:
    text = pattern.pattern
    return parser.parse(
        text.decode("latin-1") if isinstance(text, bytes) else text, pattern.flags & re.VERBOSE
    )


def _repetitions(nodes: list[Any], before: str) -> Iterator[tuple[str, list[str]]]:
    """What leads to each repetition, and texts that it repeats."""
    for kind, value in nodes:
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}:
            least, most, body = value
            if most == op.MAXREPEAT or most > 8:
                yield before, _texts(list(body))
            yield from _repetitions(list(body), before)
            # Inside what is repeated, an earlier round leads to a repetition too.
            yield from _repetitions(list(body), before + _texts(list(body))[0])
            before += _texts(list(body))[0] * least
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _repetitions(list(branch), before)
            before += _texts(list(value[1][0]))[0]
        elif kind is op.SUBPATTERN:
            yield from _repetitions(list(value[-1]), before)
            before += _texts(list(value[-1]))[0]
        elif kind is op.ATOMIC_GROUP:
            yield from _repetitions(list(value), before)
            before += _texts(list(value))[0]
        else:
            before += _texts([(kind, value)])[0]
    if before:
        yield "", [before]


def _texts(nodes: list[Any]) -> list[str]:
    """Texts that a part of a pattern matches, the first one short."""
    found = [""]
    for kind, value in nodes:
        found = [(head + tail)[:200] for head in found[:4] for tail in _each(kind, value)][:12]
    return found


def _each(kind: Any, value: Any) -> list[str]:
    if kind is op.LITERAL:
        return [chr(value)]
    if kind is op.NOT_LITERAL:
        return [next(each for each in "a0 -" if ord(each) != value)]
    if kind is op.ANY:
        return ["a", " "]
    if kind is op.IN:
        return _members(value)
    if kind is op.BRANCH:
        return [text for branch in value[1] for text in _texts(list(branch))[:2]]
    if kind is op.SUBPATTERN:
        return _texts(list(value[-1]))
    if kind is op.ATOMIC_GROUP:
        return _texts(list(value))
    if kind in {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}:
        least, _, body = value
        return [text * max(1, min(least, 64)) for text in _texts(list(body))]
    return [""]


def _members(members: list[Any]) -> list[str]:
    """Characters of a set: of each kind that it names, or some that it does not name."""
    categories = {
        op.CATEGORY_DIGIT: "0",
        op.CATEGORY_WORD: "a0_",
        op.CATEGORY_SPACE: " \n",
        op.CATEGORY_NOT_SPACE: "a0-",
    }
    named = ""
    ranges: list[tuple[int, int]] = []
    for kind, value in members:
        if kind is op.LITERAL:
            named += chr(value)
        elif kind is op.RANGE:
            named += chr(value[0])
            ranges.append(value)
        elif kind is op.CATEGORY:
            named += categories.get(value, "-")
    if (op.NEGATE, None) in members:
        outside = [
            each
            for each in "a0 -_<A"
            if each not in named and not any(low <= ord(each) <= high for low, high in ranges)
        ]
        return outside or [chr(0x100)]
    return list(named)


assert sys.version_info >= (3, 11)
