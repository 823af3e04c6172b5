"""Rows of torch's strided tensors: every dtype, views and what they share, parameters, gradients, attributes.

A tensor is the bytes that it shows, a dtype, a shape and strides. It comes back on its device where there is
one, else on the CPU.

**Views.** A tensor is stored as it looks: a row of a batch takes the bytes of that row. Tensors of one
payload that share memory share it again when they come back: they lie in one buffer, which has what they show
and nothing else of the storage. Strides that step over what is not shown are not kept. A tensor and a numpy
array over the same memory come back apart.
"""

from __future__ import annotations

import torch

from laila.blob.buffer import Buffer
from laila.codec import apart, registry, tags
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.overlaps import Layout, Span, groups
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.walking import NotALeaf
from laila.errors import InvalidValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from laila.codec.encoder import Encoder
    from laila.codec.rows import RowWriter

    Row = list[object]

__all__ = ["DTYPES", "NAMES", "check_gradient", "check_leaf", "gradient_of", "plain_tensor", "sizes"]

DTYPES: dict[str, torch.dtype] = {}
"""The dtypes that strided tensors have, by name."""
for _name in (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "complex32", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("float4_e2m1fn_x2", "qint8", "quint8", "qint32"),
):
    # Older torch has fewer of them.
    _found = getattr(torch, _name, None)
    if isinstance(_found, torch.dtype):
        DTYPES[_name] = _found
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_QUANTIZED = frozenset({"qint8", "quint8", "qint32"})
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_MAX = 1 << 62
_MAX_GRADIENTS = 16


def _encode_tensor(value: torch.Tensor, encoder: Encoder) -> Row:
    name = NAMES.get(value.dtype)
    if name is None or name in _QUANTIZED or value.layout != torch.strided or value.is_nested:
        from laila.codec.tensorkinds import encode_kind

        return encode_kind(value, encoder)
    check_leaf(value, encoder)
    if encoder.in_leaf and (value.__dict__ or value.grad is not None):
        raise NotALeaf  # what it holds may be in the pickle, too
    number: int | None = None
    strides = value.stride()
    if not value.is_meta:
        number, strides = encoder.collector(_Memory).add(value, encoder)
    # A conjugate or negative view is told by a bit, its memory holds the other numbers.
    bits = (1 if value.is_conj() else 0) | (2 if value.is_neg() else 0)
    flags = bits | (4 if value.requires_grad else 0) | (8 if type(value) is torch.nn.Parameter else 0)
    grad = gradient_of(value, encoder)
    row: Row = [tags.TENSOR, number, name, tuple(value.shape), strides, 0, flags, str(value.device), grad]
    sign_attributes(type(value), value.__dict__, encoder)
    return [*row, dict(value.__dict__)] if value.__dict__ else row


def check_leaf(value: torch.Tensor, encoder: Encoder) -> None:
    """Refuse a tensor that belongs to a computation."""
    if value._backward_hooks:
        encoder.refuse("a tensor with backward hooks; store tensor.detach()")
    if value.requires_grad and not value.is_leaf:
        encoder.refuse(
            "a tensor that is a step of a computation cannot come back as one; store tensor.detach()"
        )


def gradient_of(value: torch.Tensor, encoder: Encoder) -> torch.Tensor | None:
    """The gradient of a leaf, or None."""
    grad = value.grad if value.is_leaf else None
    if grad is not None and _has_long_chain(grad):
        encoder.refuse("a gradient that has a gradient, and so on without end")
    return grad


def _has_long_chain(grad: torch.Tensor) -> bool:
    """Whether gradients of gradients go so deep that freeing them may overflow the C++ stack."""
    result = grad
    for _ in range(_MAX_GRADIENTS):
        following = result.grad if result.is_leaf else None
        if following is None:
            return False
        result = following
    return True


class _Memory:
    """The tensors met in a walk. Their bytes are taken at its end, when it is known which share memory."""

    def __init__(self) -> None:
        self._tensors: list[tuple[torch.Tensor, torch.UntypedStorage, Span]] = []
        self._numbers: list[int] = []
        self._of_storage: dict[int, list[Span]] = {}

    def add(self, value: torch.Tensor, encoder: Encoder) -> tuple[int, tuple[int, ...]]:
        """Note ``value``; return the number of its buffer, and its strides where it shares with none."""
        if not (encoder.copy or encoder.borrow):
            raise InvalidValueError(
                f"{encoder.path()} is a tensor, which is always writable: copy=False cannot keep it"
            )
        storage = value.untyped_storage()
        size = value.itemsize
        strides = tuple(step * size for step in value.stride())
        span = Span(
            len(self._tensors), int(value.storage_offset()) * size, tuple(value.shape), strides, size, size
        )
        if span.nbytes and span.high > storage.nbytes():
            encoder.refuse(
                f"a tensor whose storage was resized to {storage.nbytes()} bytes, so that its numbers are "
                "gone; store it before its storage is resized, or leave it out"
            )
        number = encoder.reserve_buffer()
        self._tensors.append((value, storage, span))
        self._numbers.append(number)
        if span.nbytes:
            self._of_storage.setdefault(storage._cdata, []).append(span)
        return number, tuple(step // size for step in _alone(span))

    def finish(self, encoder: Encoder, rows: RowWriter) -> None:
        """Fill the buffers; write the rows of tensors that share memory anew."""
        arrays = encoder.ranges_of_arrays()
        if arrays:
            apart.tell_of_memory(encoder.root, arrays, self._ranges(), "tensors and arrays over one memory")
        shared: set[int] = set()
        for spans in self._of_storage.values():
            for group in groups(spans) if len(spans) > 1 else ():
                layout = Layout(group)
                number = self._numbers[group[0].number]
                places = [layout.place(span) for span in group]
                encoder.buffers[number] = self._gathered(group, places, layout.nbytes, encoder.copy)
                changed = rows.change()
                for span, (offset, strides) in zip(group, places, strict=True):
                    value = self._tensors[span.number][0]
                    row = changed[encoder.row_of(value)]
                    steps = rows.add_tuple(tuple(step // span.itemsize for step in strides))
                    row[1], row[4], row[5] = number, steps, offset // span.itemsize
                shared.update(span.number for span in group)
        for number, (value, _, span) in zip(self._numbers, self._tensors, strict=True):
            if span.number not in shared:
                encoder.taken = value
                strides = _alone(span)
                size = (
                    sum((n - 1) * step for n, step in zip(span.shape, strides, strict=True)) + span.itemsize
                )
                encoder.buffers[number] = self._gathered(
                    [span], [(0, strides)], size if span.nbytes else 0, encoder.copy
                )

    def _ranges(self) -> list[tuple[int, int, object]]:
        """Where the tensors lie, as far as that is the memory of this process."""
        result: list[tuple[int, int, object]] = []
        for value, storage, span in self._tensors:
            if span.nbytes and storage.device.type == "cpu":
                start = storage.data_ptr()
                result.append((start + span.low, start + span.high, value))
        return result

    def _gathered(
        self, group: list[Span], places: list[tuple[int, tuple[int, ...]]], nbytes: int, copy: bool
    ) -> Buffer:
        """A buffer of what the tensors of ``group`` show, each at its place, and zeros elsewhere."""
        if not nbytes:
            return Buffer(memoryview(b""))
        (_, storage, span) = self._tensors[group[0].number]
        if len(group) == 1 and span.high - span.low == nbytes and places[0][1] == span.strides:
            piece = _words(storage, span.low, (nbytes,), (1,), 1)
            alone = storage.device.type == "cpu" and copy
            return Buffer(_octets(piece.clone() if alone else piece.cpu()))
        memory = torch.zeros(nbytes, dtype=torch.uint8)
        for span, (offset, strides) in zip(group, places, strict=True):
            # Items that repeat along an axis are taken once.
            shape = tuple(
                1 if step == 0 else count for step, count in zip(span.strides, span.shape, strict=True)
            )
            source = _words(storage, span.start, shape, span.strides, span.itemsize)
            _words(memory.untyped_storage(), offset, shape, strides, span.itemsize).copy_(source)
        return Buffer(_octets(memory))


def _alone(span: Span) -> tuple[int, ...]:
    """The strides of a tensor in a memory of its own: its own ones, unless they step over other items."""
    if not span.nbytes or span.high - span.low <= span.nbytes:
        return span.strides
    strides = [0] * len(span.shape)
    step = span.itemsize
    for axis in sorted(range(len(strides)), key=lambda axis: (span.strides[axis], -axis)):
        if span.strides[axis]:
            strides[axis] = step
            step *= span.shape[axis]
    return tuple(strides)


def _words(
    storage: torch.UntypedStorage, start: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int
) -> torch.Tensor:
    """Items of ``size`` bytes at ``start`` of a storage as whole numbers, which every operation can copy."""
    word = min(size, 8)
    steps = tuple(step // word for step in strides)
    if size > word:
        shape, steps = (*shape, size // word), (*steps, 1)
    tensor = torch.empty(0, dtype=_WORDS[word], device=storage.device)
    return tensor.set_(storage, start // word, shape, steps)


def _octets(memory: torch.Tensor) -> memoryview:
    """The bytes of a tensor of bytes, through numpy, since a storage gives no buffer of its own."""
    octets: Any = memory.numpy()
    return memoryview(octets).toreadonly()


def sizes(value: object) -> tuple[int, ...]:
    """A shape or strides out of a row; raises ``ValueError`` for what no tensor has."""
    original: tuple[Any, ...] = expect(value, tuple)
    result = tuple(expect(n, int) for n in original[:65])
    if len(result) > 64 or any(not 0 <= n < _MAX for n in result):
        raise ValueError("an impossible shape")
    return result


def plain_tensor(value: object) -> torch.Tensor:
    """``value`` if it is a tensor of the CPU and of no subclass, with no item that is there many times.

    Otherwise raises ``TypeError`` or ``ValueError``. Code that looks at all items of a blob's tensor calls
    this first: strides can make a few bytes look like many.
    """
    tensor = expect(value, torch.Tensor)
    if tensor.layout != torch.strided or tensor.is_meta or tensor.requires_grad:
        raise TypeError("a tensor of another kind")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor whose items lie on top of each other")
    return tensor


def _decode_tensor(row: Row, decoder: Decoder) -> object:
    if len(row) not in (9, 10):
        raise ValueError("a tensor of too few fields, or too many")
    number, name, shape, strides, offset, flags, device, grad = row[1:9]
    dtype = DTYPES[expect(name, str)]
    lengths, steps, start, bits = sizes(shape), sizes(strides), expect(offset, int), expect(flags, int)
    if len(lengths) != len(steps) or not 0 <= start < _MAX or not 0 <= bits < 16 or name in _QUANTIZED:
        raise ValueError("a tensor that cannot be")
    if number is None:
        tensor = torch.empty_strided(lengths, steps, dtype=dtype, device="meta")
    else:
        tensor = _over_storage(decoder, number, dtype, lengths, steps, start, expect(device, str))
    if bits & 3 and not (dtype.is_complex or bits & 3 == 2):
        raise ValueError("a conjugate of real numbers")
    if bits & 1:
        tensor = torch._conj(tensor)
    if bits & 2:
        tensor = torch._neg_view(tensor)
    needs_grad = bool(bits & 4)
    if needs_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError("a gradient of whole numbers")
    if bits & 8:
        tensor = torch.nn.Parameter(tensor, needs_grad)
    elif needs_grad:
        tensor.requires_grad_()
    check_gradient(tensor, grad)
    if len(row) == 10:
        set_attributes(tensor, row[9], decoder)
    return tensor


def check_gradient(tensor: torch.Tensor, grad: object) -> None:
    """Give ``tensor`` its gradient; raises ``ValueError`` for what can be none."""
    if grad is not None:
        if not isinstance(grad, torch.Tensor) or _has_long_chain(grad):
            raise ValueError("a gradient that cannot be")
        tensor.grad = grad


def _over_storage(
    decoder: Decoder,
    number: object,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    start: int,
    device: str,
) -> torch.Tensor:
    data = decoder.plain_buffer(number, None)  # copied once, however many tensors share it
    # What the view reaches must lie inside the storage.
    reach = start + 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape:
        reach = 0
    if reach * dtype.itemsize > data.nbytes:
        raise ValueError(
            f"a tensor that reaches {reach * dtype.itemsize} bytes into a storage of {data.nbytes}"
        )
    place = _device(device)
    storage = decoder.shared.get(("torch", number))
    if not isinstance(storage, torch.UntypedStorage):
        storage = _new_storage(data, place)
        decoder.shared["torch", number] = storage
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    return tensor.set_(storage, start, shape, strides)


def _new_storage(data: memoryview, place: torch.device) -> torch.UntypedStorage:
    octets = torch.empty(data.nbytes, dtype=torch.uint8)
    if data.nbytes:
        target: Any = octets.numpy()
        memoryview(target)[:] = data
    return octets.to(place).untyped_storage()


def _device(text: str) -> torch.device:
    """The device of that name where it exists, else the CPU.

    Raises torch's error for an invalid name.
    """
    device = torch.device(text)
    if device.type in ("cuda", "xpu", "mps"):
        module = getattr(torch, device.type, None)
        if module is not None and module.is_available() and (device.index or 0) < module.device_count():
            return device
    return torch.device("cpu")


# -- constants


def _constants(kind: type) -> dict[str, object]:
    return {
        name: held
        for name, held in vars(torch).items()
        if type(held) is kind and str(held) == f"torch.{name}"
    }


_CONSTANTS: dict[str, dict[str, object]] = {
    "dtype": {**_constants(torch.dtype), **DTYPES},
    "layout": _constants(torch.layout),
    "memory_format": _constants(torch.memory_format),
    "qscheme": _constants(torch.qscheme),
}


def _encode_constant(value: object, encoder: Encoder) -> Row:
    kind, name = type(value).__name__, str(value).removeprefix("torch.")
    if _CONSTANTS[kind].get(name) is not value:
        encoder.refuse(f"{registry.type_name(type(value))} {name}, which torch has under no name")
    return [tags.TORCH_CONSTANT, kind, name]


def _decode_constant(row: Row, decoder: Decoder) -> object:
    kind, name = only(row, 2)
    if kind == "size":
        return torch.Size(sizes(name))
    return _CONSTANTS[expect(kind, str)][expect(name, str)]


def _decode_device(row: Row, decoder: Decoder) -> object:
    (name,) = only(row, 1)
    return torch.device(expect(name, str))


ENCODERS.update(
    {
        torch.Tensor: _encode_tensor,
        torch.nn.Parameter: _encode_tensor,
        torch.Size: lambda value, encoder: [tags.TORCH_CONSTANT, "size", tuple(value)],
        torch.dtype: _encode_constant,
        torch.layout: _encode_constant,
        torch.memory_format: _encode_constant,
        torch.qscheme: _encode_constant,
        torch.device: lambda value, encoder: [tags.DEVICE, str(value)],
    }
)
DECODERS.update(
    {
        tags.TENSOR: _decode_tensor,
        tags.DEVICE: _decode_device,
        tags.TORCH_CONSTANT: _decode_constant,
    }
)
