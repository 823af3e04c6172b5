"""Arrays of numpy's that columns hold: written so that nothing outside ever shares memory with a column."""

from __future__ import annotations

import numpy as np

from laila.blob.buffer import byte_view
from laila.codec import tags
from laila.codec.arrays import memory_of, plain_array
from laila.codec.dtypes import describe
from laila.codec.registry import ENCODERS, encoder_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from laila.codec.decoder import Decoder
    from laila.codec.encoder import Encoder

    Row = list[object]
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Held", "held_once", "take_once", "whose"]


class Held:
    """An array inside a pandas object, which has a row of its own whatever else refers to the array.

    ``labels`` gives the place of an item by its position, for errors.
    """

    __slots__ = ("labels", "value")

    def __init__(self, value: object, labels: Any = None) -> None:
        self.value = value
        self.labels = labels


def held_once(array: Array, encoder: Encoder) -> Held:
    """The one holder of an array that is never written to, such as an index's, for all views of it."""
    interface = array.__array_interface__
    key = ("pandas", interface["data"][0], array.dtype, array.shape, array.strides)
    known = encoder.notes.get(key)
    if known is None:
        known = encoder.notes[key] = Held(array, "[{}]".format)
    return known


def take_once(array: object, decoder: Decoder) -> None:
    """Note that ``array`` belongs to a column now, whose memory nothing else shares.

    Raises ``ValueError`` where another column has it, or where its items lie on top of each other.
    """
    taken: Any = decoder.shared.setdefault(("pandas", "taken"), set())
    memory = whose(array, decoder)
    if id(memory) in taken:
        raise ValueError("one array for two columns")
    taken.add(id(memory))


def whose(array: object, decoder: Decoder) -> object:
    """What stands for the memory of ``array``: two that have the same may share it.

    Raises ``ValueError`` where items of an array lie on top of each other. What bears a signature is as
    pandas had it, and in a blob that is read before it is stored, given arrays take the place of copies.
    """
    if decoder.trusted or type(array) is not np.ndarray:
        return array
    return memory_of(plain_array(array))


def _encode_held(held: Held, encoder: Encoder) -> Row:
    value: Any = held.value
    if type(value) is not np.ndarray:
        return encoder_for(value)(value, encoder)
    order: Literal["C", "F"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    if value.dtype.kind == "O":
        return [tags.OBJECT_ARRAY, value.shape, order, *value.ravel(order).tolist()]
    description = describe(value.dtype)
    data = byte_view(value.copy(order))
    if type(description) is str:
        return [tags.NDARRAY, encoder.add_buffer(data, description, value.shape, order)]
    return [tags.STRUCTURED, encoder.add_buffer(data), description, value.shape, order]


ENCODERS[Held] = _encode_held
