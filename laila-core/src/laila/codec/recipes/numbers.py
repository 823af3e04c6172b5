"""Recipes of numpy: polynomials, universal functions by name, and what its types can hold."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from laila.codec.decoder import one_of
from laila.codec.library import NAMESPACES
from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_UFUNCS: dict[str, Any] = {
    name: held
    for name in dir(np)
    if not name.startswith("_") and isinstance(held := getattr(np, name), np.ufunc)
}
_SERIES = ("coef", "domain", "window", "_symbol")


def _numbers(array: Any, length: int | None = None) -> Any:
    """``array``, where it is a row of numbers; else raise ``ValueError``."""
    if array.ndim != 1 or array.dtype.kind not in "biufcO" or (length is not None and len(array) != length):
        raise ValueError("not coefficients")
    return array


def _take_ufunc(value: Any) -> tuple[object, ...] | None:
    name = value.__name__
    return (name,) if _UFUNCS.get(name) is value else None


def _build_ufunc(decoder: Decoder, name: str) -> object:
    return _UFUNCS[name]


def _take_poly1d(value: Any) -> tuple[object, ...] | None:
    attributes = vars(value)
    if attributes.keys() != {"coeffs", "_variable"}:
        return None
    return attributes["coeffs"], attributes["_variable"]


def _build_poly1d(decoder: Decoder, coefficients: Any, variable: str) -> object:
    found = np.poly1d([0])
    vars(found).update(coeffs=_numbers(coefficients), _variable=variable)
    return found


def _take_series(value: Any) -> tuple[object, ...] | None:
    attributes = vars(value)  # domain and window are the class's where they were not given
    return tuple(map(attributes.get, _SERIES)) if attributes.keys() <= set(_SERIES) else None


def _series(kind: Any) -> Recipe:
    def build(decoder: Decoder, coef: Any, domain: Any, window: Any, symbol: str) -> object:
        found = kind([0])
        vars(found).update(coef=_numbers(coef), _symbol=symbol)
        for name, pair in (("domain", domain), ("window", window)):
            if pair is not None:
                vars(found)[name] = _numbers(pair, 2)
        return found

    pair = (np.ndarray, type(None))
    return Recipe(
        f"numpy.{kind.__name__}",
        kind,
        _take_series,
        build,
        coef=(np.ndarray,),
        domain=pair,
        window=pair,
        symbol=(str,),
    )


def _take_limits(value: Any) -> tuple[object, ...] | None:
    return (value.dtype.char,)


def _limits(kind: Any, choices: str) -> Recipe:
    def build(decoder: Decoder, char: str) -> object:
        if not one_of(char, *choices):
            raise ValueError("the limits of another type")
        return kind(char)

    return Recipe(f"numpy.{kind.__name__}", kind, _take_limits, build, dtype=(str,))


def _build_module(decoder: Decoder, name: str) -> object:
    if name not in NAMESPACES:
        raise ValueError("a module that is no namespace of arrays")
    return importlib.import_module(name)


add_recipe(Recipe("numpy.ufunc", np.ufunc, _take_ufunc, _build_ufunc, name=(str,)))
add_recipe(
    Recipe("numpy.poly1d", np.poly1d, _take_poly1d, _build_poly1d, coeffs=(np.ndarray,), variable=(str,))
)
add_recipe(_limits(np.finfo, "efdg"))
add_recipe(
    Recipe("numpy.module", ModuleType, lambda value: (value.__name__,), _build_module, name=(str,)),
    encodes=False,
)
add_recipe(_limits(np.iinfo, "bhilqBHILQ"))
for _name in ("Polynomial", "Chebyshev", "Legendre", "Laguerre", "Hermite", "HermiteE"):
    add_recipe(_series(getattr(np.polynomial, _name)))
