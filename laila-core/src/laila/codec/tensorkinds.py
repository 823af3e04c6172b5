"""Rows of torch's other tensors: sparse, quantized, nested, of subclasses; and of random generators.

Each is the plain tensors that it is made of. What they say about each other is checked by torch when it puts
them together again, before anything uses them as addresses.
"""

from __future__ import annotations

import copyreg
import warnings

import torch

from laila.codec import registry, tags
from laila.codec.attributes import set_attributes, sign_attributes
from laila.codec.containers import only
from laila.codec.decoder import Decoder, expect
from laila.codec.registry import DECODERS, ENCODERS
from laila.codec.tensors import DTYPES, NAMES, check_gradient, check_leaf, gradient_of, plain_tensor, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from laila.codec.encoder import Encoder

    Row = list[object]

__all__ = [
    "encode_kind",
    "encode_tensor_class",
    "is_plain_tensor_class",
    "rebuild_tensor",
    "reduce_tensor",
    "set_tensor_state",
]

_COMPRESSED: dict[str, torch.layout] = {
    "csr": torch.sparse_csr,
    "csc": torch.sparse_csc,
    "bsr": torch.sparse_bsr,
    "bsc": torch.sparse_bsc,
}
_COMPRESSED_NAMES = {layout: name for name, layout in _COMPRESSED.items()}


def encode_kind(value: torch.Tensor, encoder: Encoder) -> Row:
    """The rows of a tensor that is not simply strided."""
    check_leaf(value, encoder)
    bare = value.detach()
    kind: str
    parts: Row
    if value.is_nested:
        kind, parts = _nested_parts(bare, encoder)
    elif value.layout == torch.sparse_coo:
        kind = "coo"
        parts = [tuple(bare.shape), bare.is_coalesced(), bare._indices(), bare._values()]
    elif value.layout in _COMPRESSED_NAMES:
        kind = _COMPRESSED_NAMES[value.layout]
        by_row = kind in ("csr", "bsr")
        outer = bare.crow_indices() if by_row else bare.ccol_indices()
        inner = bare.col_indices() if by_row else bare.row_indices()
        parts = [tuple(bare.shape), outer, inner, bare.values()]
    elif value.is_quantized and bare.qscheme() == torch.per_tensor_affine:
        kind = "quantized"
        parts = [NAMES[value.dtype], bare.int_repr(), float(bare.q_scale()), int(bare.q_zero_point())]
    elif value.is_quantized and bare.qscheme() == torch.per_channel_affine:
        kind = "quantized by channel"
        scales, zeros = bare.q_per_channel_scales(), bare.q_per_channel_zero_points()
        parts = [NAMES[value.dtype], bare.int_repr(), scales, zeros, bare.q_per_channel_axis()]
    else:
        encoder.refuse(
            f"a tensor of layout {value.layout} and dtype {value.dtype}, for which there is no stored form; "
            "store the tensors that it is made of"
        )
    flags = (4 if value.requires_grad else 0) | (8 if type(value) is torch.nn.Parameter else 0)
    # The __dict__ of a nested tensor says how it is made.
    attributes = dict(value.__dict__) if type(value) in (torch.Tensor, torch.nn.Parameter) else {}
    sign_attributes(type(value), attributes, encoder)
    return [tags.COMPOUND_TENSOR, kind, flags, gradient_of(value, encoder), attributes or None, *parts]


def _nested_parts(bare: Any, encoder: Encoder) -> tuple[str, Row]:
    if bare.layout == torch.jagged:
        if bare._lengths is not None or bare._ragged_idx != 1:
            encoder.refuse(
                "a nested tensor with holes, or transposed; store nested.contiguous(), or "
                "list(nested.unbind())"
            )
        return "jagged", [bare.values(), bare.offsets()]
    return "nested", [part.contiguous() for part in bare.unbind()]


def _coo(shape: object, coalesced: object, indices: object, values: object) -> torch.Tensor:
    tensor = torch.sparse_coo_tensor(
        plain_tensor(indices), plain_tensor(values), sizes(shape), check_invariants=True
    )
    if not expect(coalesced, bool):
        return tensor._coalesced_(False)
    ordered = tensor.coalesce()
    if ordered._nnz() != tensor._nnz() or not torch.equal(ordered._indices(), tensor._indices()):
        raise ValueError("indices that are not in order")
    return tensor._coalesced_(True)


def _compressed(name: str) -> Callable[..., torch.Tensor]:
    def build(shape: object, outer: object, inner: object, values: object) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch calls them a beta, once
            return torch.sparse_compressed_tensor(
                plain_tensor(outer),
                plain_tensor(inner),
                plain_tensor(values),
                sizes(shape),
                layout=_COMPRESSED[name],
                check_invariants=True,
            )

    return build


def _quantized(name: object, ints: object, scale: object, zero: object) -> torch.Tensor:
    whole = _ints_of(name, ints)
    return torch._make_per_tensor_quantized_tensor(whole, expect(scale, float), expect(zero, int))


def _quantized_by_channel(
    name: object, ints: object, scales: object, zeros: object, axis: object
) -> torch.Tensor:
    whole, factors, origins = _ints_of(name, ints), plain_tensor(scales), plain_tensor(zeros)
    place = expect(axis, int)
    if (
        not 0 <= place < whole.ndim
        or factors.shape != (whole.shape[place],)
        or origins.shape != factors.shape
    ):
        raise ValueError("a quantized tensor with scales of another length")
    return torch._make_per_channel_quantized_tensor(whole, factors, origins, place)


def _ints_of(name: object, ints: object) -> torch.Tensor:
    wanted = {"qint8": torch.int8, "quint8": torch.uint8, "qint32": torch.int32}[expect(name, str)]
    whole = plain_tensor(ints)
    if whole.dtype != wanted or DTYPES.get(str(name)) is None:
        raise ValueError("a quantized tensor of other integers")
    return whole


def _nested(*parts: object) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls them a prototype, once
        return torch.nested.nested_tensor([plain_tensor(part) for part in parts])


def _jagged(values: object, offsets: object) -> torch.Tensor:
    content, ends = plain_tensor(values), plain_tensor(offsets)
    if ends.ndim != 1 or not len(ends) or ends.dtype not in (torch.int64, torch.int32) or content.ndim < 1:
        raise ValueError("a nested tensor without its offsets")
    if ends[0] != 0 or ends[-1] != len(content) or bool((ends[1:] < ends[:-1]).any()):
        raise ValueError("offsets that are not in order")
    tensor: torch.Tensor = torch.nested.nested_tensor_from_jagged(content, ends)
    return tensor


_BUILDERS: dict[str, Callable[..., torch.Tensor]] = {
    "coo": _coo,
    **{name: _compressed(name) for name in _COMPRESSED},
    "quantized": _quantized,
    "quantized by channel": _quantized_by_channel,
    "nested": _nested,
    "jagged": _jagged,
}


def _decode_kind(row: Row, decoder: Decoder) -> object:
    if len(row) < 5:
        raise ValueError("a tensor of too few fields")
    kind, flags, grad, attributes = row[1:5]
    bits = expect(flags, int)
    if kind == "class":
        return _tensor_of_class(row, decoder)
    for part in row[5:]:
        if isinstance(part, torch.Tensor):
            decoder.again("tensor", part.untyped_storage().data_ptr(), part.numel() * part.itemsize)
    result = _BUILDERS[expect(kind, str)](*row[5:])
    if bits not in (0, 4, 8, 12):
        raise ValueError("a tensor that cannot be")
    if bits & 8:
        result = torch.nn.Parameter(result, bool(bits & 4))
    elif bits & 4:
        result.requires_grad_()
    check_gradient(result, grad)
    if attributes is not None:
        set_attributes(result, attributes, decoder)
    return result


# -- subclasses


def is_plain_tensor_class(kind: type) -> bool:
    """Whether an instance of ``kind`` is a tensor and its attributes, and nothing besides."""
    return (
        issubclass(kind, torch.Tensor)
        and kind not in copyreg.dispatch_table
        and getattr(kind, "__torch_dispatch__", None) is torch.Tensor.__torch_dispatch__
        and kind.__reduce_ex__ in (torch.Tensor.__reduce_ex__, torch.nn.Parameter.__reduce_ex__)
        and all(
            getattr(kind, name, None)
            in (getattr(torch.Tensor, name, None), getattr(torch.nn.Parameter, name, None))
            for name in ("__reduce__", "__getstate__", "__setstate__")
        )
    )


def encode_tensor_class(value: torch.Tensor, encoder: Encoder) -> Row:
    """The rows of an instance of a subclass of tensors."""
    from laila.codec.classnames import class_of_row

    kind = type(value)
    if not is_plain_tensor_class(kind) or value.layout != torch.strided:
        if value.is_nested:
            return encode_kind(value, encoder)
        if hasattr(kind, "materialize") or gradient_of(value, encoder) is None:
            from laila.codec.signed import encode_pickled

            return encode_pickled(value, encoder)
        encoder.refuse(f"a {registry.type_name(kind)} loses its gradient when it is pickled; store its data")
    check_leaf(value, encoder)
    with torch._C.DisableTorchFunctionSubclass():
        bare = torch.Tensor.detach(value).as_subclass(torch.Tensor)
    flags = 4 if value.requires_grad else 0
    attributes = dict(value.__dict__)
    sign_attributes(kind, attributes, encoder)
    name = class_of_row(kind, encoder)
    return [tags.COMPOUND_TENSOR, "class", flags, gradient_of(value, encoder), attributes or None, name, bare]


def _tensor_of_class(row: Row, decoder: Decoder) -> object:
    from laila.codec.classnames import class_from_row

    flags, grad, attributes, name, bare = row[2:]
    kind: Any = class_from_row(name, decoder, is_plain_tensor_class)
    if flags not in (0, 4):
        raise ValueError("a tensor that cannot be")
    tensor: torch.Tensor = torch.Tensor._make_subclass(kind, expect(bare, torch.Tensor), bool(flags))
    tensor.__dict__.clear()
    check_gradient(tensor, grad)
    if attributes is not None:
        set_attributes(tensor, attributes, decoder)
    return tensor


def rebuild_tensor(kind: Any, bare: torch.Tensor, requires_grad: bool) -> torch.Tensor:
    """An instance of ``kind`` over ``bare``, without attributes. Pickles call it by this name."""
    if kind is torch.Tensor:
        return bare.requires_grad_(requires_grad)
    tensor: torch.Tensor = torch.Tensor._make_subclass(kind, bare, requires_grad)
    tensor.__dict__.clear()
    return tensor


def set_tensor_state(tensor: torch.Tensor, state: tuple[torch.Tensor | None, dict[str, object]]) -> None:
    """Set what :func:`reduce_tensor` took apart. Pickles call it by this name."""
    grad, attributes = state
    check_gradient(tensor, grad)
    tensor.__dict__.update(attributes)


def reduce_tensor(value: torch.Tensor) -> tuple[object, ...] | None:
    """Return the pickle form of a tensor with a gradient or attributes; None if torch keeps all."""
    kind = type(value)
    plain = kind in (torch.Tensor, torch.nn.Parameter) or is_plain_tensor_class(kind)
    if not plain or not value.is_leaf or value._backward_hooks:
        return None
    if value.grad is None and not value.__dict__:
        return None
    with torch._C.DisableTorchFunctionSubclass():
        bare = torch.Tensor.detach(value).as_subclass(torch.Tensor)
    state = (value.grad, dict(value.__dict__))
    return rebuild_tensor, (kind, bare, value.requires_grad), state, None, None, set_tensor_state


# -- random generators


def _encode_generator(value: torch.Generator, encoder: Encoder) -> Row:
    return [tags.TORCH_GENERATOR, str(value.device), value.get_state()]


def _decode_generator(row: Row, decoder: Decoder) -> object:
    device, state = only(row, 2)
    place = torch.device(expect(device, str))
    tensor = torch.Generator(place) if place.type == "cpu" or _is_here(place) else None
    if tensor is None:
        raise ValueError(f"a random generator of {place.type}, which is not here")
    tensor.set_state(plain_tensor(state))
    return tensor


def _is_here(place: torch.device) -> bool:
    module = getattr(torch, place.type, None)
    return bool(module is not None and hasattr(module, "is_available") and module.is_available())


ENCODERS[torch.Generator] = _encode_generator
DECODERS[tags.COMPOUND_TENSOR] = _decode_kind
DECODERS[tags.TORCH_GENERATOR] = _decode_generator
