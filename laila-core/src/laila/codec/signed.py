"""The only place that makes or reads a pickle.

What nothing else carries (functions, instances of C classes, subclasses of builtins) is pickled by
cloudpickle, and the blob is signed. Reading asks :meth:`Decoder.demand_trust` first: without a verified
signature no pickle is opened. The lint rule that forbids pickle elsewhere exempts this file.

A pickle is one row. Arrays and tensors inside it, and any object that the rest of the payload refers to as
well, stay rows of their own, so that they keep out of band and come back shared.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

from laila.codec import registry, tags
from laila.codec.decoder import Decoder, expect
from laila.codec.encoder import Encoder, Hoist
from laila.codec.registry import DECODERS
from laila.codec.trust import PICKLED
from laila.errors import LailaError, PayloadError
from laila.showing import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Row = list[object]

__all__ = ["encode_pickled"]

_PROTOCOL = 5
# Immutable, or looked up by name: whether two pickles share them cannot be told afterwards.
_UNSHARED = (
    *(type(None), bool, int, float, complex, str, bytes, tuple, frozenset, type, range),
    *(FunctionType, BuiltinFunctionType, MethodType, ModuleType, CodeType, CellType, property),
)


def _refusal(value: object) -> str | None:
    """Why ``value`` must not be pickled although cloudpickle might do something with it."""
    if isinstance(value, io.IOBase) and type(value) not in (io.BytesIO, io.StringIO):
        name = registry.type_name(type(value))
        return f"an open file or stream ({name}) belongs to this process; store its content"
    if isinstance(value, memoryview):
        return "a memoryview is a window on memory that something else owns; store bytes(view)"
    if isinstance(value, GeneratorType):
        return "a generator cannot be stored, since where it stands cannot; store list(generator)"
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.memmap):
        return "a numpy.memmap is a window on a file; store numpy.array(memmap)"
    return None


def encode_pickled(value: object, encoder: Encoder) -> Row:
    """The row of a value that only a pickle can carry.

    Raises :class:`PayloadError` where not even that can.
    """
    kind = type(value)
    reason = _refusal(value)
    if reason is not None:
        encoder.refuse(reason)
    encoder.sign(kind, PICKLED)
    try:
        import cloudpickle
    except ImportError as error:
        encoder.refuse(
            f"{registry.type_name(kind)} needs cloudpickle, which is not installed: "
            "pip install 'laila-core[pickle]'; or store plain data in its place",
            error,
        )
    children: Row = []
    numbers: dict[int, int] = {}
    own: set[int] = set()

    def persistent_id(inner: object) -> int | None:
        if inner is value or isinstance(inner, _UNSHARED):
            return None
        reason = _refusal(inner)
        if reason is not None:
            raise pickle.PicklingError(reason)
        number = id(inner)
        if encoder.is_outside(inner) or type(inner) in _array_types():
            if number not in numbers:
                numbers[number] = len(children)
                children.append(inner)
            return numbers[number]
        if number not in own:
            if number in encoder.pickled:
                encoder.hoist(inner)
            own.add(number)
            encoder.pickled[number] = inner
        return None

    stream = io.BytesIO()
    pickler = _pickler(cloudpickle.Pickler, stream, persistent_id)
    try:
        pickler.dump(value)
    except (Hoist, LailaError):
        raise
    except Exception as error:  # noqa: BLE001 - a class may raise anything; it is told as the cause
        # A class's own __reduce__ may raise anything; whatever it is, the value cannot be stored.
        encoder.refuse(
            f"{registry.type_name(kind)} cannot be pickled ({type(error).__name__}: {said(error)})", error
        )
    data = stream.getvalue()
    # What pickles is not always what unpickles (exceptions are a classic): find out now, not at remember.
    try:
        again = _load(data, children)
    except Exception as error:  # noqa: BLE001 - whatever unpickling raises is told as the cause
        encoder.refuse(
            f"{registry.type_name(kind)} pickles but does not unpickle ({type(error).__name__}: "
            f"{said(error)})",
            error,
        )
    if type(again) is not kind and registry.class_path(type(again)) != registry.class_path(kind):
        encoder.refuse(f"{registry.type_name(kind)} would come back as {registry.type_name(type(again))}")
    return [tags.PICKLE, registry.class_path(kind), data, *children]


def _pickler(base: type, stream: io.BytesIO, persistent: Callable[[object], int | None]) -> pickle.Pickler:
    class Pickler(base):  # type: ignore[misc]  # cloudpickle is imported only when needed
        def persistent_id(self, obj: object) -> int | None:
            return persistent(obj)

    pickler: pickle.Pickler = Pickler(stream, protocol=_PROTOCOL)
    return pickler


def _array_types() -> tuple[type, ...]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return (
        *((numpy.ndarray,) if numpy else ()),
        *((torch.Tensor,) if torch and hasattr(torch, "Tensor") else ()),
    )


def _load(data: bytes, children: Row) -> object:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: object) -> object:
            return children[expect(pid, int)]

    return Unpickler(io.BytesIO(data)).load()


def _decode_pickled(row: Row, decoder: Decoder) -> object:
    if len(row) < 3:
        raise ValueError("a pickle without its bytes")
    name, data = expect(row[1], str), expect(row[2], bytes)
    decoder.demand_trust(f"{name} (pickled)", registrable=False)
    try:
        return _load(data, row[3:])
    except Exception as error:
        raise PayloadError(
            f"the payload of {decoder.blob.key} holds a pickled {name} that cannot be rebuilt here "
            f"({type(error).__name__}: {said(error)}); its class or a library may have changed or be "
            "missing",
            path=name,
        ) from error


DECODERS[tags.PICKLE] = _decode_pickled
