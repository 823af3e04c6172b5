"""Arguments: a nested mapping whose values are also attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any, NamedTuple

from laila.errors import InvalidArgumentError, MissingArgumentError
from laila.locks import long_lock
from laila.showing import shown

__all__ = ["Arguments", "Found"]

DEEPEST = 100
"""Levels that arguments may nest: more is no configuration but an attempt to exhaust the stack."""
_MOST_COMPARED, _LONGEST_COMPARED = (
    1000,
    100,
)  # the most names, and characters of a name, in a search for a similar one

# One lock for all: arguments are written a few times in a process's life, and reading takes no lock.
_writing = long_lock()


class Found(NamedTuple):
    """A value that was found, and its text where it came as text (terminal, ``.env``, XML)."""

    value: object
    text: str | None


def too_deep(values: object) -> bool:
    """Return whether mappings and lists in ``values`` nest deeper than arguments may, or hold themselves."""
    level = [values]
    for _ in range(DEEPEST):
        inner: dict[int, object] = {}  # each once, however often it stands there
        for value in level:
            value = value.value if isinstance(value, Text) else value
            if isinstance(value, Mapping):
                inner |= {id(node): node for node in list(value.values())}
            elif isinstance(value, list):
                inner |= {id(node): node for node in value}
        level = [node for node in inner.values() if isinstance(node, (Mapping, list, Text))]
        if not level:
            return False
    return True


class Text(NamedTuple):
    """A value that came as text: what it reads as, and the text itself."""

    value: object
    text: str


class Arguments(MutableMapping[str, Any]):
    """A mapping from names to values; ``args.x`` is ``args["x"]``.

    A nested mapping becomes Arguments too, and its values are also found under the joined and the dotted
    name: ``args.aws.key``, ``args.aws_key``, ``args["aws.key"]``. A name that is really there comes before a
    joined one. Iteration and ``len`` see the names at this level only.

    A missing name raises :class:`~laila.errors.MissingArgumentError`, both an ``AttributeError`` and a
    ``KeyError``. The names of methods (``args.items``) and names that begin with an underscore are reached by
    ``args["items"]``. ``repr`` shows names and no values, for values may be secrets.

    Reading is safe from any thread; each assignment and :meth:`merge` is atomic to readers of one name.
    """

    __slots__ = ("_texts", "_values")

    _values: dict[str, Any]
    _texts: dict[str, str]

    def __init__(self, values: Mapping[str, object] | None = None, /) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_texts", {})
        if values:
            try:
                self.merge(values)
            except RecursionError:
                raise InvalidArgumentError(
                    f"these arguments nest more than {DEEPEST} levels, or hold themselves"
                ) from None

    def find(self, name: str) -> Found | None:
        """Return the value of a plain, dotted or joined ``name`` with its text, or ``None``.

        Args:
            name: The name.

        Returns:
            The value and its text; None if there is no such name.
        """
        values = self._values
        if name in values:
            return Found(values[name], self._texts.get(name))
        for position, character in enumerate(name):
            if character in "._":
                table = values.get(name[:position])
                if isinstance(table, Arguments):
                    item = table.find(name[position + 1 :])
                    if item is not None:
                        return item
        # hdf5.path may have come from a flat source as hdf5_path.
        return self.find(name.replace(".", "_")) if "." in name else None

    def merge(self, values: Mapping[str, object]) -> None:
        """Set every item of ``values``; a nested mapping is merged into a table of the same name.

        Args:
            values: Names and values.
        """
        with _writing:
            for name, value in values.items():
                mine = self._values.get(name)
                if isinstance(value, Mapping) and isinstance(mine, Arguments) and mine is not value:
                    mine.merge(value if not isinstance(value, Arguments) else value._tagged())
                else:
                    self[name] = value

    def _replace(self, values: Mapping[str, object]) -> None:
        """Hold ``values`` and nothing else; called by :func:`laila.arguments.set_args`."""
        if too_deep(values):
            raise InvalidArgumentError(f"these arguments nest more than {DEEPEST} levels, or hold themselves")
        fresh = Arguments()
        fresh.merge(values._tagged() if isinstance(values, Arguments) else values)
        with _writing:
            object.__setattr__(self, "_values", fresh._values)
            object.__setattr__(self, "_texts", fresh._texts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dicts of the values.

        Returns:
            A dict of plain dicts and values.
        """
        return {name: v.to_dict() if isinstance(v, Arguments) else v for name, v in self._values.items()}

    def _tagged(self) -> dict[str, object]:
        """Return the items with the texts they were read from, so that a merge keeps both."""
        return {
            name: Text(value, self._texts[name]) if name in self._texts else value
            for name, value in self._values.items()
        }

    def __getitem__(self, name: str) -> Any:
        item = self.find(name) if isinstance(name, str) else None
        if item is None:
            raise self._missing(name)
        return item.value

    def __setitem__(self, name: str, value: object) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(
                f"the name of an argument is a text that is not empty, not {shown(name)}"
            )
        text: str | None = None
        if isinstance(value, Text):
            value, text = value
        if isinstance(value, Mapping) and not isinstance(value, Arguments):
            value = Arguments(value)
        with _writing:
            if text is None:
                self._texts.pop(name, None)
            else:
                self._texts[name] = text
            self._values[name] = value

    def __delitem__(self, name: str) -> None:
        with _writing:
            if name not in self._values:
                raise self._missing(name)
            del self._values[name]
            self._texts.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __iter__(self) -> Iterator[str]:
        # A copy, so that another thread's assignment does not break the loop.
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Remove everything."""
        with _writing:
            self._values.clear()
            self._texts.clear()

    def __getattr__(self, name: str) -> Any:
        # Protocol probes (copy, pickle, IPython) ask for dunder names; no argument answers them.
        if name in Arguments.__slots__:
            raise AttributeError(name)  # of one whose constructor has not run
        item = None if name.startswith("__") else self.find(name)
        if item is None:
            raise self._missing(name)
        return item.value

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            raise AttributeError(f"args.{name} cannot be set as an attribute: write args[{shown(name)}] = …")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._values if name.isidentifier())]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Arguments):
            return self._values == other._values
        return isinstance(other, Mapping) and self.to_dict() == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not hasattr(self, "_values"):  # a debugger looks at one whose constructor has not run
            return "<Arguments that were not made>"
        return f"<Arguments: {', '.join(self._names()) or 'none'}>"

    def __reduce__(self) -> tuple[type[Arguments], tuple[dict[str, object]]]:
        return Arguments, (self._tagged(),)

    def _names(self) -> Iterator[str]:
        for name, value in list(self._values.items()):
            if isinstance(value, Arguments) and value:
                yield from (f"{name}.{inner}" for inner in value._names())
            else:
                yield name

    def _missing(self, name: object) -> MissingArgumentError:
        from difflib import get_close_matches

        wanted = str(name).replace("_", ".")
        names = [known for known in islice(self._names(), _MOST_COMPARED) if len(known) <= _LONGEST_COMPARED]
        close = get_close_matches(wanted, names, n=3) if len(wanted) <= _LONGEST_COMPARED else ()
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return MissingArgumentError(
            f"there is no argument {shown(name)}{hint} (laila.read_args(...) loads arguments)",
            argument=str(name),
        )
