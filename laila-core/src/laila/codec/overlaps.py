"""Which arrays share memory, and the least of that memory which they need.

Arrays belong together when the bytes that they reach may be the same: the ranges of their addresses meet, and
no regular stride keeps them apart, as it does two columns of one matrix. All that costs a sort of the
addresses, however many arrays lie on top of each other.
"""

from __future__ import annotations

from math import lcm, prod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Layout", "Span", "groups"]


class Span:
    """The memory that one array, which is not empty, reaches: bytes ``low`` to ``high``.

    Args:
        number: What the caller calls the array.
        start: The address of its first item.
        shape: Its shape.
        strides: Its strides, in bytes.
        itemsize: The bytes of an item.
        alignment: What addresses of its items shall be multiples of.
    """

    __slots__ = (
        "alignment",
        "high",
        "itemsize",
        "low",
        "nbytes",
        "number",
        "shape",
        "start",
        "steps",
        "strides",
    )

    def __init__(
        self,
        number: int,
        start: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        itemsize: int,
        alignment: int,
    ) -> None:
        self.number, self.start, self.shape, self.strides = number, start, shape, strides
        self.itemsize, self.alignment = itemsize, alignment
        self.steps = [(step, count - 1) for step, count in zip(strides, shape, strict=True) if count > 1]
        """Per axis with more than one item: the stride, and how often it is taken."""
        self.low = start + sum(step * count for step, count in self.steps if step < 0)
        self.high = start + sum(step * count for step, count in self.steps if step > 0) + itemsize
        self.nbytes = itemsize * prod(shape)
        """The bytes of all items; more than it reaches where items lie on top of each other."""

    @property
    def is_dense(self) -> bool:
        """Whether the array has no gaps in its memory."""
        return self.nbytes == self.high - self.low and not any(step == 0 for step, _ in self.steps)


def groups(spans: Sequence[Span]) -> list[list[Span]]:
    """Return the groups of two or more arrays that share memory, each in the given order."""
    result = []
    for cluster in _touching(spans):
        parts = [cluster]
        if not any(span.is_dense for span in cluster):
            for modulus in sorted({abs(step) for step, _ in cluster[0].steps} - {0}, reverse=True):
                parts = [arc for part in parts for arc, _, _ in _arcs(part, modulus)]
        if len(parts) > 1:
            parts = [again for part in parts for again in _touching(part)]
        result += [sorted(part, key=lambda span: span.number) for part in parts if len(part) > 1]
    return result


def _touching(spans: Sequence[Span]) -> list[list[Span]]:
    """Those whose ranges meet, together; each by itself that meets no other."""
    result: list[list[Span]] = []
    end = -1
    for span in sorted(spans, key=lambda span: (span.low, span.high)):
        if span.low < end:
            result[-1].append(span)
        else:
            result.append([span])
        end = max(end, span.high)
    return result


def _arcs(spans: list[Span], modulus: int) -> list[tuple[list[Span], int, int]]:
    """Those whose addresses meet modulo ``modulus``, together, with the first residue and how many there are.

    All together where the larger strides of one are no multiples of it: then residues tell nothing.
    """
    starts = []
    for span in spans:
        width = span.itemsize
        for step, count in span.steps:
            if abs(step) < modulus:
                width += abs(step) * count
            elif step % modulus:
                return [(spans, 0, modulus)]
        if width > modulus:
            return [(spans, 0, modulus)]
        starts.append((span.low % modulus, width, span))
    starts.sort(key=lambda each: each[:2])
    result: list[tuple[list[Span], int, int]] = []
    end = -1
    for first, width, span in starts:
        if first < end:
            members, begin, _ = result[-1]
            members.append(span)
        else:
            begin = first
            result.append(([span], first, 0))
        end = max(end, first + width)
        result[-1] = (result[-1][0], begin, end - begin)
    members, begin, width = result[-1]
    passed = 0
    while passed < len(result) - 1 and result[passed][1] + modulus < begin + width:
        # The last one goes round the circle into the first ones.
        others, first, following = result[passed]
        members += others
        width = max(width, first + modulus + following - begin)
        passed += 1
    result[-1] = (members, begin, width)
    return result[passed:]


class Layout:
    """Where the arrays of a group lie in a memory of their own, of ``nbytes`` bytes.

    Where all step over the same bytes that none of them reaches, these are left out.
    """

    def __init__(self, group: list[Span]) -> None:
        whole = len({(span.itemsize, span.alignment) for span in group}) == 1
        alignment = lcm(*(span.alignment for span in group))
        self._low = min(span.low for span in group)
        if not whole:
            self._low -= self._low % alignment
        self._modulus = self._width = 1
        if not any(span.is_dense for span in group):
            for modulus in sorted({abs(step) for step, _ in group[0].steps} - {0}, reverse=True):
                ((_, first, width), *more) = _arcs(group, modulus)
                width += -width % alignment
                if not more and width <= modulus // 2:
                    self._modulus, self._width = modulus, width
                    self._low -= (self._low - first) % modulus
                    break
        self.nbytes: int = max(self._place(span.high - 1) + 1 for span in group)

    def _place(self, address: int) -> int:
        whole, rest = divmod(address - self._low, self._modulus)
        result: int = whole * self._width + rest
        return result

    def place(self, span: Span) -> tuple[int, tuple[int, ...]]:
        """The offset of the first item of ``span``, and its strides."""
        strides = tuple(
            step if abs(step) < self._modulus or count < 2 else step // self._modulus * self._width
            for step, count in zip(span.strides, span.shape, strict=True)
        )
        return self._place(span.start), strides
