"""Recipes of xarray: variables, arrays, sets and trees whose values numpy holds, with indexes of pandas'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexes import PandasIndex, PandasMultiIndex
from xarray.core.indexing import PandasIndexingAdapter

from laila.codec.decoder import expect
from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_WORK = 200
_NONE: Any = type(None)
_DICTS = (dict, _NONE)
_INDEXES: dict[str, Any] = {"plain": PandasIndex, "multi": PandasMultiIndex}


def _take_variable(value: Any) -> tuple[object, ...] | None:
    data = value._data
    notes = (value._attrs or None, value._encoding or None)
    if type(data) is np.ndarray:
        return value._dims, data, None, *notes
    if type(data) is not PandasIndexingAdapter or isinstance(data.array, pd.MultiIndex):
        return None
    dtype = data.dtype
    return value._dims, data.array, dtype if isinstance(dtype, np.dtype) else None, *notes


def _variable(kind: Any) -> Recipe:
    def build(decoder: Decoder, dims: Any, data: Any, dtype: Any, attrs: Any, encoding: Any) -> object:
        decoder.check_keys(dims)
        if not isinstance(data, np.ndarray | pd.Index) or len(dims) != data.ndim:
            raise TypeError("a variable of what is no array")
        if dtype is not None and not isinstance(dtype, np.dtype):
            raise TypeError("not a type")
        array = kind(dims, np.empty((0,) * len(dims)), fastpath=True)
        # Past the constructor, which makes times of objects.
        array._data = data if type(data) is np.ndarray else PandasIndexingAdapter(data, dtype)
        array._attrs, array._encoding = attrs, encoding
        return array

    parts = {"dims": (tuple,), "values": None, "dtype": None, "attrs": _DICTS, "encoding": _DICTS}
    return Recipe(f"xarray.{kind.__name__}", kind, _take_variable, build, **parts)


def _take_coords(value: Any) -> tuple[dict[Any, Any], list[Any]] | None:
    """The coordinates, None in the place of those that an index makes; and the indexes.

    Of each index its kind, dimension, and index of pandas'; of each of its coordinates name, attributes and
    encoding; and the dtypes that the coordinates have.
    """
    plain: dict[Any, Any] = {}
    indexes: list[Any] = []
    seen: set[int] = set()
    made = value.xindexes
    for name in value.coords:
        variable = value.coords[name].variable
        index = made.get(name)
        plain[name] = variable if index is None else None
        if index is not None and id(index) not in seen:
            seen.add(id(index))
            kind = next((text for text, held in _INDEXES.items() if type(index) is held), None)
            if kind is None or (kind == "plain" and index.coord_dtype != variable.dtype):
                return None
            names = [other for other in value.coords if made.get(other) is index]
            notes = [
                (other, held._attrs or None, held._encoding or None)
                for other in names
                for held in [value.coords[other].variable]
            ]
            dtypes = index.level_coords_dtype if kind == "multi" else {names[0]: index.coord_dtype}
            indexes.append((kind, index.dim, index.index, notes, dict(dtypes)))
    return plain, indexes


def _coords(decoder: Decoder, plain: dict[Any, Any], indexes: list[Any]) -> Any:
    variables: dict[Any, Any] = dict(plain)
    made: dict[Any, Any] = {}
    decoder.again("coords", indexes, _WORK * len(indexes))
    decoder.again("coords", plain, _WORK * len(plain))
    for kind, dim, held, notes, dtypes in indexes:
        decoder.check_keys([dim])
        if kind not in ("plain", "multi") or not isinstance(held, pd.Index) or type(notes) is not list:
            raise TypeError("not an index")
        if isinstance(held, pd.MultiIndex) != (kind == "multi") or type(dtypes) is not dict:
            raise TypeError("an index of another kind")
        index = _INDEXES[kind](held, dim, *([dtypes] if kind == "multi" else dtypes.values()))
        for name, variable in index.create_variables().items():
            variables[name], made[name] = variable, index
        for name, attrs, encoding in notes:
            decoder.check_keys([name])
            if not {dict, _NONE}.issuperset((type(attrs), type(encoding))):
                raise TypeError("attributes that are no dict")
            variables[name]._attrs, variables[name]._encoding = attrs, encoding
    if len(variables) != len(plain) or not all(map(_is_variable, variables.values())):
        raise TypeError("a coordinate that is no variable")
    return xr.Coordinates(variables, indexes=made)


def _is_variable(value: object) -> bool:
    return type(value) in (xr.Variable, xr.IndexVariable)


def _take_array(value: Any) -> tuple[object, ...] | None:
    coords = _take_coords(value)
    return None if coords is None else (value.variable, *coords, value.name)


def _build_array(decoder: Decoder, variable: Any, plain: Any, indexes: Any, name: Any) -> object:
    decoder.check_keys([name])
    hash(name)
    array = xr.DataArray(variable, _coords(decoder, plain, indexes), variable.dims, name)
    array._variable = variable
    return array


def _take_set(value: Any) -> tuple[object, ...] | None:
    coords = _take_coords(value)
    if coords is None:
        return None
    # In their order, None in the place of coordinates.
    held = {name: None if name in coords[0] else variable for name, variable in value._variables.items()}
    return held, tuple(value.sizes), *coords, value._attrs or None, value._encoding or None


def _build_set(
    decoder: Decoder, variables: Any, dims: Any, plain: Any, indexes: Any, attrs: Any, encoding: Any
) -> object:
    decoder.again("set", variables, _WORK * len(variables))
    decoder.again("set", dims, _WORK * len(dims))
    decoder.check_keys(dims)
    present = {name: variable for name, variable in variables.items() if variable is not None}
    if not all(map(_is_variable, present.values())):
        raise TypeError("a data set of what is no variable")
    result = xr.Dataset(present, _coords(decoder, plain, indexes))
    if result._variables.keys() != variables.keys() or set(result.sizes) != set(dims):
        raise ValueError("a data set of other variables")
    result._variables = {name: present.get(name, result._variables[name]) for name in variables}
    sizes: Any = result.sizes
    result._dims = {name: sizes[name] for name in dims}
    result._attrs, result._encoding = attrs, encoding
    return result


def _take_tree(value: Any) -> tuple[object, ...] | None:
    if value.parent is not None:
        return None
    return value.name, {node.path: node.to_dataset(inherit=False) for node in value.subtree}


def _build_tree(decoder: Decoder, name: object, nodes: dict[Any, Any]) -> object:
    decoder.again("tree", nodes, _WORK * len(nodes))
    for path, held in nodes.items():
        decoder.spend(_WORK * expect(path, str).count("/"))
        expect(held, xr.Dataset)
    return xr.DataTree.from_dict(nodes, name=None if name is None else expect(name, str))


add_recipe(_variable(xr.Variable))
add_recipe(_variable(xr.IndexVariable))
add_recipe(
    Recipe(
        "xarray.DataArray",
        xr.DataArray,
        _take_array,
        _build_array,
        variable=(xr.Variable, xr.IndexVariable),
        coords=(dict,),
        indexes=(list,),
        name=None,
    )
)
add_recipe(
    Recipe(
        "xarray.Dataset",
        xr.Dataset,
        _take_set,
        _build_set,
        variables=(dict,),
        dims=(tuple,),
        coords=(dict,),
        indexes=(list,),
        attrs=_DICTS,
        encoding=_DICTS,
    )
)
add_recipe(Recipe("xarray.DataTree", xr.DataTree, _take_tree, _build_tree, name=None, nodes=(dict,)))
