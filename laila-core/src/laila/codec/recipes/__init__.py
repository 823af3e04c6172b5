"""Rows of library classes that are rebuilt from plain parts: one table, and one row form for all of them.

A :class:`Recipe` says of one exact class which parts make an instance, of which exact types they are, and
which function of laila's makes an instance of them. A blob names the recipe, never a class or a function. The
modules beside this one hold the recipes of one library each, and are loaded when the library's objects or
rows are first met. Blobs with such rows are read before they are stored: the parts of what was read must be
those of what was given.
"""

from __future__ import annotations

from laila.codec import tags
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS, PARTS
from laila.errors import CorruptEntryError, MissingPluginError
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]
    Types = tuple[type, ...] | None

__all__ = ["RECIPES", "Recipe", "add_recipe"]

_MODULES = {
    **dict.fromkeys(("re", "random"), ("laila.codec.recipes.standard", "", "")),
    "numpy": ("laila.codec.recipes.numbers", "numpy", "laila-core[numpy]"),
    "polars": ("laila.codec.recipes.frames", "polars", "polars"),
    "networkx": ("laila.codec.recipes.networks", "networkx", "networkx"),
    "xarray": ("laila.codec.recipes.labelled", "xarray", "xarray"),
    "shapely": ("laila.codec.recipes.shapes", "shapely", "shapely"),
    "astropy": ("laila.codec.recipes.skies", "astropy", "astropy"),
}
"""By the first part of a recipe's name: the module here that has it, the library it needs, and what installs
that."""
RECIPES: dict[type, Recipe] = {}
_NAMES: dict[str, Recipe] = {}


_MOST_COSTLY = 400


def _nothing(*parts: object) -> int:
    return 0


class Recipe:
    """How instances of one exact class are taken apart and made again."""

    __slots__ = ("build", "cost", "kind", "labels", "name", "take", "types")

    def __init__(
        self,
        name: str,
        kind: type,
        take: Callable[[Any], tuple[object, ...] | None],
        build: Callable[..., object],
        cost: Callable[..., int] = _nothing,
        /,
        **types: Types,
    ) -> None:
        self.name = name
        """The name in the blob: ``library.Class``. It never changes."""
        self.kind = kind
        self.take = take
        """Gives the parts of an instance, or None if the instance is more than its parts."""
        self.build = build
        """Takes the decoder and the parts, whose types were checked; raises for impossible parts."""
        self.cost = cost
        """Counts the work of parts that cost far more than their bytes: a blob may have a few hundred."""
        self.types = tuple(types.values())
        """The exact types that each part may have; None for any payload."""
        self.labels = tuple(types)
        """The names of the parts in errors."""


def add_recipe(recipe: Recipe, *, encodes: bool = True) -> None:
    """Put a recipe into the table; ``encodes=False`` where something else writes its rows."""
    if not encodes:
        _NAMES[recipe.name] = recipe
        return
    RECIPES[recipe.kind] = _NAMES[recipe.name] = recipe
    PARTS[recipe.kind] = recipe.take
    ENCODERS[recipe.kind] = _encode


def _encode(value: object, encoder: Encoder) -> Row:
    recipe = RECIPES[type(value)]
    parts = recipe.take(value) if encoder.rebuild else None
    if parts is None or not _fit(recipe, parts) or not _counts(recipe, parts, encoder):
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    encoder.rebuilt = True
    return [tags.REBUILT, recipe.name, *parts]


def _fit(recipe: Recipe, parts: tuple[object, ...] | list[object]) -> bool:
    return len(parts) == len(recipe.types) and all(
        types is None or type(part) in types for part, types in zip(parts, recipe.types, strict=True)
    )


def _counts(recipe: Recipe, parts: Iterable[object], walk: Encoder | Decoder) -> bool:
    """Count what is costly in ``parts``; whether that is not too much."""
    cost = recipe.cost(*parts)
    return cost <= _MOST_COSTLY and all(walk.count(recipe.name, _MOST_COSTLY) for _ in range(cost))


def _decode(row: Row, decoder: Decoder) -> object:
    if len(row) < 2:
        raise ValueError("an object without the name of its kind")
    recipe = _recipe_named(expect(row[1], str), decoder)
    parts = row[2:]
    if not _fit(recipe, parts):
        raise TypeError(f"a {recipe.name} of other parts")
    if not _counts(recipe, parts, decoder):
        raise ValueError(f"too many a {recipe.name} that takes long")
    try:
        found = recipe.build(decoder, *parts)
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise ValueError(f"parts that {recipe.name} panics at") from error  # which is no Exception in Python
    if type(found) is not recipe.kind:
        raise TypeError(f"a {recipe.name} that is another one")
    return found


def _recipe_named(name: str, decoder: Decoder) -> Recipe:
    found = _NAMES.get(name)
    if found is not None:
        return found
    place = _MODULES.get(name.partition(".")[0])
    if place is not None:
        module, library, requirement = place
        try:
            __import__(module)  # a name of the table above
        except Exception as error:
            # A library that is broken may raise anything; the blob is sound.
            raise MissingPluginError(
                f"the payload of {decoder.blob.key} needs {library}, which cannot be imported here "
                f"({type(error).__name__}: {said(error)}): pip install '{requirement}'",
                plugin=library,
                distribution=requirement,
            ) from error
    if name not in _NAMES:
        raise CorruptEntryError(
            f"the blob of {decoder.blob.key} has an object of the unknown kind {shown(name)}: it is damaged, "
            "or a newer laila wrote it, or the library that has it is an older one here",
            key=decoder.blob.key,
        )
    return _NAMES[name]


DECODERS[tags.REBUILT] = _decode
