"""Recipes of shapely: geometries, as well-known binary; collections, as their members.

The binary is walked before GEOS reads it, which follows what is nested in it however deep that is.
"""

from __future__ import annotations

import struct

import shapely

from laila.codec.recipes import Recipe, add_recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.decoder import Decoder

__all__: list[str] = []

_WORK = 10
_POINT, _LINE, _POLYGON, _MOST = 1, 2, 3, 6
_Z, _M, _SRID = 1 << 31, 1 << 30, 1 << 29
_SINGLE = 3
"""The type of a multi-geometry is that much more than the type of what is in it."""
_SIMPLE = ("Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon")


def _take(value: Any) -> tuple[object, ...] | None:
    data = shapely.to_wkb(value, include_srid=True, flavor="extended", byte_order=1)
    return (data,) if _is_same(_read(type(value), data), value) else None


def _is_same(result: Any, value: Any) -> bool:
    """Whether binary carried all: it has no place for the dimensions of what is empty."""
    return type(result) is type(value) and shapely.to_wkt(result, -1) == shapely.to_wkt(value, -1)


def _read(kind: Any, data: bytes) -> Any:
    result = shapely.from_wkb(data)
    if kind is shapely.LinearRing and type(result) is shapely.LineString:  # which binary does not tell apart
        ring = shapely.linearrings(shapely.get_coordinates(result, include_z=result.has_z))
        return shapely.set_srid(ring, shapely.get_srid(result))
    return result


def _end_of(data: bytes, place: int, wanted: int | None = None) -> int:
    """Where the geometry at ``place`` ends; ``wanted`` is the type that it must have.

    Raises ``ValueError`` or ``struct.error`` for what is no geometry, or one of collections.
    """
    order, code = struct.unpack_from("<BI", data, place)
    place += 5
    kind = code & ~(_Z | _M | _SRID)
    if order != 1 or not _POINT <= kind <= _MOST or kind != (wanted or kind):
        raise ValueError("a geometry of an unknown kind")
    if code & _SRID:
        place += 4
    size = 8 * (2 + bool(code & _Z) + bool(code & _M))
    if kind == _POINT:
        return place + size
    count: int = struct.unpack_from("<I", data, place)[0]
    place += 4
    if count > len(data):
        raise ValueError("a geometry of more than it has")
    if kind == _LINE:
        return place + count * size
    for _ in range(count):
        if kind == _POLYGON:
            points: int = struct.unpack_from("<I", data, place)[0]
            place += 4 + size * points
        else:
            place = _end_of(data, place, kind - _SINGLE)
    return place


def _recipe(kind: Any) -> Recipe:
    def build(decoder: Decoder, data: bytes) -> object:
        decoder.again("shape", data, _WORK * len(data))
        if _end_of(data, 0) != len(data):
            raise ValueError("a geometry of more or less than it says")
        return _read(kind, data)

    return Recipe(f"shapely.{kind.__name__}", kind, _take, build, data=(bytes,))


def _take_collection(value: Any) -> tuple[object, ...] | None:
    parts = tuple(value.geoms), int(shapely.get_srid(value))
    return parts if _is_same(_collection(*parts), value) else None


def _collection(members: tuple[Any, ...], srid: int) -> Any:
    return shapely.set_srid(shapely.GeometryCollection(members), srid)


def _build_collection(decoder: Decoder, members: tuple[Any, ...], srid: int) -> object:
    decoder.again("members", members, _WORK * len(members))
    if not all(isinstance(member, shapely.Geometry) for member in members):
        raise TypeError("a collection of what are no geometries")
    count = sum(map(shapely.get_num_coordinates, members)) + sum(map(shapely.get_num_geometries, members))
    decoder.spend(_WORK * int(count))  # it takes copies of all
    return _collection(members, srid)


for _name in _SIMPLE:
    add_recipe(_recipe(getattr(shapely, _name)))
add_recipe(
    Recipe(
        "shapely.GeometryCollection",
        shapely.GeometryCollection,
        _take_collection,
        _build_collection,
        members=(tuple,),
        srid=(int,),
    )
)
