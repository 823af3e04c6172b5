"""What the walk will meet soon and pickle: many near each other cost less in one pickle than in one each."""

from __future__ import annotations

from itertools import chain, compress, islice
from operator import not_

from msgpack import ExtType

from laila.codec import registry
from laila.codec.shortcuts import FEW, SHORT, SMALL, SMALL_LEVELS, Shortcuts
from laila.codec.walking import Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Lookahead"]

_SHORT_OR_KNOWN = SHORT | {Known}
_AHEAD = 4000
_FIRST = 200
_MORE = 1000


class Lookahead(Shortcuts):
    """Looks for objects that must be pickled together."""

    def ahead(self, most: int) -> list[object]:
        """Up to ``most`` objects that the walk will meet soon, and that are pickled.

        Looks at no more than a few thousand fields, a few levels down.
        """
        result: list[object] = []
        left = _AHEAD
        for frame in reversed(self._stack[:-1]):
            if frame.known is None:
                fields: Iterator[object] = islice(frame.row, frame.position + 1, None)
            else:
                fields = map(frame.row.__getitem__, islice(reversed(frame.todo), 1, None))
            todo: list[Any] = [fields]
            while todo and left > 0 and len(result) < most:
                for field in todo[-1]:
                    left -= 1
                    kind = type(field)
                    if kind in _SHORT_OR_KNOWN or kind is ExtType:
                        pass
                    elif kind in SMALL:
                        if len(todo) < SMALL_LEVELS and id(field) not in self.memo:
                            todo.append(iter(field if kind is not dict else [*field.values()]))
                            break
                    elif self._is_pickled(kind, field):
                        number = id(field)
                        if number not in self.memo and number not in self.pickled:
                            result.append(field)
                            if len(result) == most:
                                break
                    if left <= 0:
                        break
                else:
                    todo.pop()
            if left <= 0 or len(result) >= most:
                break
        return result

    def _whole(self, container: Any) -> set[type] | None:
        """The types of what is pickled in ``container``, where it holds some of that and else only atoms.

        A container that is pickled as a whole costs less than one with a row for each pickle in it. Looks a
        few levels down, and gives up where the first fields are of other kinds.
        """
        for field in container if type(container) is not dict else container.values():
            kind = type(field)
            if kind in SHORT:
                continue
            if kind in SMALL or self._is_pickled(kind, field):
                break
            return None
        else:
            return None
        kinds: set[type] = set()
        seen: set[int] = set()
        count = 0
        left = _FIRST
        todo: list[Any] = [_fields(container)]
        while todo:
            for field in todo[-1]:
                left -= 1
                kind = type(field)
                if kind in SHORT:
                    pass
                elif kind in SMALL and len(todo) < SMALL_LEVELS and id(field) not in self._mixed:
                    todo.append(_fields(field))
                    break
                elif kind in kinds or (kind not in SMALL and self._is_pickled(kind, field)):
                    kinds.add(kind)
                    if id(field) not in seen:
                        seen.add(id(field))
                        count += 1
                else:
                    count, left = 0, 0
                if left <= 0 and (not count or (count < FEW and left < -_MORE)):
                    self._mixed.add(id(container))
                    self._alive.append(container)
                    return None
            else:
                todo.pop()
        return kinds if count >= FEW else None

    def _is_pickled(self, kind: type, obj: object) -> bool:
        """Whether a ``kind`` is always pickled."""
        try:
            known = self._pickles.get(kind)
            if known is None:
                # Known by its name, since the module that has it loads much that others do not need.
                encode = registry.encoder_for(obj)
                known = self._pickles[kind] = getattr(encode, "__name__", "") == "encode_pickled"
        except Exception:  # noqa: BLE001 - a class that cannot be looked at: it is told when its turn comes
            return False
        return known


def _fields(container: Any) -> Iterator[object]:
    """Keys and values, or items. What stands there many times comes once, after the first few hundred."""
    fields = [*container] if type(container) is not dict else [*chain.from_iterable(list(container.items()))]
    if len(fields) <= _FIRST:
        return iter(fields)
    rest = fields[_FIRST:]
    rest = [*compress(rest, map(not_, map(SHORT.__contains__, map(type, rest))))]
    return chain(fields[:_FIRST], dict(zip(map(id, rest), rest, strict=True)).values())
