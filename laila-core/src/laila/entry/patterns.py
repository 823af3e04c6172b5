r"""Parts of the tree of a manifest that patterns name: ``encoder/*``, ``**/bias``, ``history/[0-9]``.

A pattern has a step for each level: ``*`` stands for any characters of one key, ``?`` for one, ``[a-c]`` and
``[!a-c]`` for one of these or none of them, ``**`` as a step for any number of levels. ``\`` takes the next
character as it is. Matching costs the length of a key times that of a step, whatever both are.
"""

from __future__ import annotations

from laila.errors import InvalidArgumentError, InvalidValueError, ManifestKeyError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TypeAlias

    from laila.entry.tree import Node

    Path: TypeAlias = "Sequence[str | int]"
    Patterns: TypeAlias = "str | Iterable[str | Path]"
    Piece: TypeAlias = "str | Set | None"

__all__ = ["select"]

_ANY_LEVELS = "**"
_LONGEST = 4096
_LONGEST_NUMBER = 18


class Set:
    """One character of those in brackets; None in a step stands for any number of characters."""

    __slots__ = ("_is_other", "_ranges")

    def __init__(self, ranges: Sequence[tuple[str, str]], *, is_other: bool) -> None:
        self._ranges = ranges
        self._is_other = is_other

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self._ranges) is not self._is_other


_ANYTHING = Set((), is_other=True)


class Exact:
    """A step of a path: a key, or the number of an item."""

    __slots__ = ("step",)

    def __init__(self, step: str | int) -> None:
        self.step = step

    def matches(self, step: str | int) -> bool:
        return type(step) is type(self.step) and step == self.step


class Step:
    """A step of a pattern, which the text of a key or of the number of an item may match."""

    __slots__ = ("is_literal", "tokens")

    def __init__(self, tokens: Sequence[Piece]) -> None:
        self.tokens = tokens
        self.is_literal = all(isinstance(token, str) for token in tokens)

    def matches(self, step: str | int) -> bool:
        text = str(step)
        if self.is_literal:
            return text == "".join(self.tokens)  # type: ignore[arg-type]  # all are characters
        return _match(self.tokens, text)


def _match(tokens: Sequence[Piece], text: str) -> bool:
    """Match greedily: after a star the first place that fits is as good as any later one."""
    at = place = 0
    star = back = -1
    while place < len(text):
        token = tokens[at] if at < len(tokens) else ""
        if token is None:
            star, back, at = at, place, at + 1
        elif token.has(text[place]) if isinstance(token, Set) else token == text[place]:
            at, place = at + 1, place + 1
        elif star < 0:
            return False
        else:
            back += 1
            at, place = star + 1, back
    return all(token is None for token in tokens[at:])


def _steps(pattern: str) -> list[Any]:
    """Read a pattern: a list of steps, or ``**``."""
    if len(pattern) > _LONGEST:
        raise InvalidValueError(f"a pattern has up to {_LONGEST} characters, this one {len(pattern)}")
    steps: list[Any] = []
    tokens: list[Piece] = []
    written = start = 0  # where in the pattern it is read, and where its step began

    def end() -> None:
        nonlocal tokens
        if pattern[start:written] != _ANY_LEVELS:
            steps.append(Step(tokens))
        elif steps[-1:] != [_ANY_LEVELS]:
            steps.append(_ANY_LEVELS)
        tokens = []

    while written < len(pattern):
        character = pattern[written]
        if character == "/":
            end()
            start = written + 1
        elif character == "\\" and written + 1 < len(pattern):
            written += 1
            tokens.append(pattern[written])
        elif character == "*":
            if not tokens or tokens[-1] is not None:
                tokens.append(None)
        elif character == "?":
            tokens.append(_ANYTHING)
        elif character == "[" and (close := _closing(pattern, written)) > 0:
            tokens.append(_set_of(pattern[written + 1 : close]))
            written = close
        else:
            tokens.append(character)
        written += 1
    end()
    return steps


def _closing(pattern: str, opening: int) -> int:
    """Return where the brackets that open here are closed; -1 where they are not, and mean themselves."""
    first = opening + 2 if pattern[opening + 1 : opening + 2] == "!" else opening + 1
    close = pattern.find("]", first + 1)
    slash = pattern.find("/", first)
    return close if slash < 0 or close < slash else -1


def _set_of(inside: str) -> Set:
    is_other = inside[0] == "!"
    rest = inside[1:] if is_other else inside
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(rest):
        if rest[at + 1 : at + 2] == "-" and at + 2 < len(rest):
            ranges.append((rest[at], rest[at + 2]))
            at += 3
        else:
            ranges.append((rest[at], rest[at]))
            at += 1
    return Set(ranges, is_other=is_other)


class Pattern:
    """A pattern while a tree is walked; it is at several of its steps at a time where it has ``**``."""

    __slots__ = ("is_literal", "said", "start", "steps")

    def __init__(self, given: object, tree: Node) -> None:
        self.said = given
        if isinstance(given, str):
            # A key is itself before it is a pattern: trees had such keys before there were patterns.
            self.steps: list[Any] = [Exact(given)] if given in tree else _steps(given)
        elif isinstance(given, (tuple, list)) and given and all(type(step) in (str, int) for step in given):
            self.steps = [Exact(step) for step in given]
        else:
            raise InvalidArgumentError(
                f"a part of a manifest is named by a pattern such as 'encoder/*', or by a path such as "
                f"('history', 3), not by {shown(given)}"
            )
        self.is_literal = all(
            isinstance(step, Exact) or (isinstance(step, Step) and step.is_literal) for step in self.steps
        )
        self.start = self._with_levels({0})

    def _with_levels(self, places: set[int]) -> frozenset[int]:
        """Add the places after ``**``, which may stand for no level at all."""
        for place in sorted(places):
            while place < len(self.steps) and self.steps[place] is _ANY_LEVELS:
                place += 1
                places.add(place)
        return frozenset(places)

    def below(self, places: frozenset[int], step: str | int) -> frozenset[int] | None:
        """Return the places after one more step; None where the pattern names what is there."""
        found: set[int] = set()
        for place in places:
            if place < len(self.steps):
                wanted = self.steps[place]
                if wanted is _ANY_LEVELS:
                    found.add(place)
                elif wanted.matches(step):
                    found.add(place + 1)
        after = self._with_levels(found)
        return None if len(self.steps) in after else after

    def is_there(self, tree: Node) -> bool:
        """Whether the place of a literal pattern, a path, is in the tree."""
        node = tree
        for wanted in self.steps:
            step = wanted.step if isinstance(wanted, Exact) else "".join(wanted.tokens)
            if isinstance(node, dict) and isinstance(step, str) and step in node:
                node = node[step]
            elif isinstance(node, list) and step in _numbers(step, isinstance(wanted, Exact), len(node)):
                node = node[int(step)]
            else:
                return False
        return True


def _numbers(step: str | int, is_exact: bool, count: int) -> Sequence[str | int]:
    """Return the ways to write the number of an item that ``step`` may be."""
    if isinstance(step, int):
        return range(count)
    if is_exact or not (step.isascii() and step.isdecimal()) or len(step) > _LONGEST_NUMBER:
        return ()
    return (str(int(step)),) if int(step) < count else ()


def select(tree: dict[str, Node], include: Patterns | None, exclude: Patterns | None) -> dict[str, Node]:
    """Return the part of a tree that is included and not excluded.

    Args:
        tree: The tree of a manifest.
        include: Patterns and paths of what is wanted; None for all. Who names a branch names all below it.
        exclude: Patterns and paths of what is not wanted.

    Returns:
        The part, in the order of the tree. A list has those of its items that are wanted.

    Raises:
        ManifestKeyError: a path is not there, or nothing is left (a ``KeyError``).
        InvalidArgumentError: what is given is neither pattern nor path (a ``TypeError``).
    """
    wanted = None if include is None else _patterns(include, tree)
    unwanted = [] if exclude is None else _patterns(exclude, tree)
    absent = [pattern.said for pattern in wanted or () if pattern.is_literal and not pattern.is_there(tree)]
    part = _part(
        tree,
        None if wanted is None else [(pattern, pattern.start) for pattern in wanted],
        [(pattern, pattern.start) for pattern in unwanted],
    )
    if absent or not part:
        what = ", ".join(shown(said) for said in absent)
        raise ManifestKeyError(
            f"the manifest has no {what}; it has {shown(list(tree))}"
            if absent
            else f"nothing of the manifest is left by include={shown(include)} and exclude={shown(exclude)}; "
            f"it has {shown(list(tree))}"
        )
    return part  # type: ignore[return-value]  # of a dict it is one


def _patterns(given: Any, tree: Node) -> list[Pattern]:
    if isinstance(given, str):
        return [Pattern(given, tree)]
    if isinstance(given, (bytes, dict)) or not hasattr(given, "__iter__"):
        raise InvalidArgumentError(f"give a pattern or a list of patterns and paths, not {shown(given)}")
    return [Pattern(one, tree) for one in given]


def _part(node: Node, wanted: Any, unwanted: Any) -> Node | None:
    """Return what is left of a node, or None; ``wanted`` is None where all of it is."""
    if wanted is None and not unwanted:
        return node
    if isinstance(node, str):
        return node if wanted is None else None
    steps: Iterable[tuple[str | int, Node]] = node.items() if isinstance(node, dict) else enumerate(node)
    left: list[tuple[Any, Node]] = []
    for step, child in steps:
        without = _below(unwanted, step)
        if without is None:
            continue
        within = None if wanted is None else _below(wanted, step)
        if within is not None and not within:
            continue
        part = _part(child, within, without)
        if part is not None:
            left.append((step, part))
    if not left and (wanted is not None or node):
        return None
    return dict(left) if isinstance(node, dict) else [leaf for _, leaf in left]  # type: ignore[misc]


def _below(patterns: Any, step: str | int) -> Any:
    """Return the patterns that may still match below a step; None where one of them matches there."""
    found: list[tuple[Pattern, frozenset[int]]] = []
    matched = False
    for pattern, places in patterns:
        after = pattern.below(places, step)
        if after is None:
            matched = True
        elif after:
            found.append((pattern, after))
    return None if matched else found
