"""Rows of torch's types: tensors of every dtype, views and shared storage, parameters, devices.

A tensor is its storage (one buffer, however many tensors look at it), dtype, shape, strides and offset. It
comes back on its device where there is one, else on the CPU.
"""

from __future__ import annotations

import torch

from laila.codec import tags
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.errors import InvalidValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.codec.encoder import Encoder

    Row = list[object]

__all__: list[str] = []

_DTYPES: dict[str, torch.dtype] = {}
for _name in (
    *(
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    ),
    *("bfloat16", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
    *("float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "qint8", "quint8", "qint32"),
):
    # Older torch has fewer of them.
    _found = getattr(torch, _name, None)
    if isinstance(_found, torch.dtype):
        _DTYPES[_name] = _found
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_QUANTIZED = frozenset({"qint8", "quint8", "qint32"})
_LAYOUTS = {"strided": torch.strided}
_MAX = 1 << 62
_MAX_GRADIENTS = 16


def _encode_tensor(value: torch.Tensor, encoder: Encoder) -> Row:
    name = _NAMES.get(value.dtype)
    own = {key: field for key, field in value.__dict__.items() if field is not None}
    if name is None or name in _QUANTIZED or value.layout != torch.strided or value.is_meta or own:
        from laila.codec.signed import encode_pickled

        return encode_pickled(value, encoder)
    if value._backward_hooks:
        encoder.refuse("a tensor with backward hooks; store tensor.detach()")
    if value.requires_grad and not value.is_leaf:
        encoder.refuse(
            "a tensor that is a step of a computation cannot come back as one; store tensor.detach()"
        )
    grad = value.grad if value.is_leaf else None
    if grad is not None and _has_long_chain(grad):
        encoder.refuse("a gradient that has a gradient, and so on without end")
    number = _storage(value, encoder)
    # A conjugate or negative view is told by a bit, its memory holds the other numbers.
    bits = (1 if value.is_conj() else 0) | (2 if value.is_neg() else 0)
    flags = bits | (4 if value.requires_grad else 0) | (8 if type(value) is torch.nn.Parameter else 0)
    shape, strides, offset = tuple(value.shape), tuple(value.stride()), value.storage_offset()
    return [tags.TENSOR, number, name, shape, strides, offset, flags, str(value.device), grad]


def _has_long_chain(grad: torch.Tensor) -> bool:
    """Whether gradients of gradients go so deep that freeing them may overflow the C++ stack."""
    found = grad
    for _ in range(_MAX_GRADIENTS):
        following = found.grad if found.is_leaf else None
        if following is None:
            return False
        found = following
    return True


def _storage(value: torch.Tensor, encoder: Encoder) -> int:
    storage = value.untyped_storage()
    owner = ("torch", storage._cdata)
    number = encoder.shared_buffer(owner)
    if number is None:
        if not encoder.copy:
            raise InvalidValueError(
                f"{encoder.path()} is a tensor, which is always writable: copy=False cannot keep it"
            )
        # One copy: to the CPU where it is elsewhere, else a clone.
        kept = storage.cpu() if storage.device.type != "cpu" else storage.clone()
        data = memoryview(b"")
        if kept.nbytes():
            # Through numpy where it is installed, since a storage gives no buffer of its own.
            data = _view(torch.tensor([], dtype=torch.uint8).set_(kept))
        number = encoder.add_buffer(data)
        encoder.share_buffer(owner, number)
        encoder.keep_alive(storage)
    return number


def _view(octets: torch.Tensor) -> memoryview:
    return memoryview(octets.numpy()).toreadonly()


def _sizes(value: object) -> tuple[int, ...]:
    found = tuple(expect(n, int) for n in expect(value, tuple))
    if len(found) > 64 or any(not 0 <= n < _MAX for n in found):
        raise ValueError("an impossible shape")
    return found


def _decode_tensor(row: Row, decoder: Decoder) -> object:
    number, name, shape, strides, offset, flags, device, grad = only(row, 8)
    dtype = _DTYPES[expect(name, str)]
    sizes, steps, start, bits = _sizes(shape), _sizes(strides), expect(offset, int), expect(flags, int)
    if len(sizes) != len(steps) or not 0 <= start < _MAX or not 0 <= bits < 16 or name in _QUANTIZED:
        raise ValueError("a tensor that cannot be")
    data = decoder.plain_buffer(number, None)  # copied once, however many tensors share it
    # What the view reaches must lie inside the storage.
    reach = (
        start + 1 + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True)) if 0 not in sizes else 0
    )
    if reach * dtype.itemsize > data.nbytes:
        raise ValueError(
            f"a tensor that reaches {reach * dtype.itemsize} bytes into a storage of {data.nbytes}"
        )
    place = _device(expect(device, str))
    storage = decoder.shared.get(("torch", number))
    if not isinstance(storage, torch.UntypedStorage):
        storage = _new_storage(data, place)
        decoder.shared["torch", number] = storage
    found = torch.empty(0, dtype=dtype, device=storage.device)
    found.set_(storage, start, sizes, steps)
    if bits & 3 and not (dtype.is_complex or bits & 3 == 2):
        raise ValueError("a conjugate of real numbers")
    if bits & 1:
        found = torch._conj(found)
    if bits & 2:
        found = torch._neg_view(found)
    needs_grad = bool(bits & 4)
    if needs_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError("a gradient of whole numbers")
    if bits & 8:
        found = torch.nn.Parameter(found, needs_grad)
    elif needs_grad:
        found.requires_grad_()
    if grad is not None:
        if not isinstance(grad, torch.Tensor) or _has_long_chain(grad):
            raise ValueError("a gradient that cannot be")
        found.grad = grad
    return found


def _new_storage(data: memoryview, place: torch.device) -> torch.UntypedStorage:
    octets = torch.empty(data.nbytes, dtype=torch.uint8)
    if data.nbytes:
        memoryview(octets.numpy())[:] = data
    return octets.to(place).untyped_storage()


def _device(text: str) -> torch.device:
    """The device of that name where it exists, else the CPU.

    Raises what torch raises for a name that is none.
    """
    device = torch.device(text)
    if device.type in ("cuda", "xpu", "mps"):
        module = getattr(torch, device.type, None)
        if module is not None and module.is_available() and (device.index or 0) < module.device_count():
            return device
    return torch.device("cpu")


def _encode_constant(value: object, encoder: Encoder) -> Row:
    if isinstance(value, torch.dtype) and value in _NAMES:
        return [tags.TORCH_CONSTANT, "dtype", _NAMES[value]]
    if value is torch.strided:
        return [tags.TORCH_CONSTANT, "layout", "strided"]
    from laila.codec.signed import encode_pickled

    return encode_pickled(value, encoder)


def _decode_constant(row: Row, decoder: Decoder) -> object:
    kind, name = only(row, 2)
    if kind == "size":
        return torch.Size(_sizes(name))
    table: dict[str, object] = {"dtype": _DTYPES, "layout": _LAYOUTS}[expect(kind, str)]
    return table[expect(name, str)]


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
