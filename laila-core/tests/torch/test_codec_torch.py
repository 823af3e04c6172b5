"""Torch tensors: every dtype, views, shared storage, gradients. Run by `make test-field`."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

from laila.blob.blob import Blob
from laila.codec import decode, encode, tags
from laila.errors import CorruptEntryError, PayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for the tests of this module only")


@pytest.fixture
def torch() -> Any:
    """Imported here and not above: this file is collected where torch is not installed."""
    return importlib.import_module("torch")


def again(payload: Any, **options: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, **options)), key=KEY))


def assert_same_tensor(torch: Any, one: Any, two: Any) -> None:
    assert type(one) is type(two)
    assert one.dtype == two.dtype
    assert one.shape == two.shape
    reach = 1 + sum((n - 1) * step for n, step in zip(one.shape, one.stride(), strict=True))
    if reach <= one.numel():  # strides that step over something else are not kept
        assert one.stride() == two.stride()
    assert two.storage_offset() == 0
    assert one.requires_grad == two.requires_grad
    assert one.is_leaf == two.is_leaf
    assert one.is_conj() == two.is_conj()
    assert one.is_neg() == two.is_neg()
    octets = [
        x.detach().resolve_conj().resolve_neg().contiguous().view(torch.uint8) for x in (one, two) if x.ndim
    ]
    assert not octets or torch.equal(*octets)


def test_every_dtype(torch: Any) -> None:
    seen = 0
    for name in dir(torch):
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype) or dtype.itemsize not in (1, 2, 4, 8, 16):
            continue
        try:
            octets = torch.arange(48, dtype=torch.uint8)
            tensor = (octets % 2 if dtype == torch.bool else octets).view(dtype)
            assert tensor.dtype == dtype
        except (RuntimeError, TypeError, AssertionError):
            continue  # a dtype that tensors of this torch cannot have
        if name.startswith(
            ("q", "bits", "int1", "int2", "int3", "int4", "int5", "int6", "int7", "uint1", "uint2", "uint3")
        ):
            if name not in ("int16", "int32", "uint16", "uint32"):
                continue
        if name.startswith(("uint4", "uint5", "uint6", "uint7", "bit")):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # complex32 is called experimental
            found = again([tensor], pickle=False)[0]
            assert found.dtype == dtype
            assert_same_tensor(torch, tensor, found)
        seen += 1
    assert seen >= 20


def test_layouts(torch: Any) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    cases = [
        base,
        base.T if base.ndim == 2 else base.transpose(0, 2),
        base[1:, ::2, 1],
        base[0, 0, 0],
        torch.tensor(3),
        torch.empty(0, 3),
        torch.zeros(2, 3).expand(4, 2, 3),
        base.to(memory_format=torch.contiguous_format),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(3, dtype=torch.complex64).conj(),
        torch.randn(3, dtype=torch.complex64).conj().imag,
        torch.randn(3).bfloat16(),
        torch.randn(3, requires_grad=True),
        torch.nn.Parameter(torch.randn(3)),
        torch.nn.Parameter(torch.arange(3), requires_grad=False),
    ]
    for case in cases:
        assert_same_tensor(torch, case, again(case, pickle=False))


def test_sharing(torch: Any) -> None:
    base = torch.zeros(4)
    blob = encode({"base": base, "view": base[1:], "again": base, "other": torch.zeros(4)}, key=KEY)
    assert len(blob.buffers) == 2
    found: Any = decode(blob)
    found["base"][2] = 5
    assert found["view"][1] == 5
    assert found["base"] is found["again"]
    assert not found["other"].any()
    assert not base.any(), "a snapshot"


def test_gradients(torch: Any) -> None:
    weight = torch.nn.Parameter(torch.randn(2))
    (weight * 3).sum().backward()
    found = again(weight, pickle=False)
    assert torch.equal(found.grad, weight.grad)
    with pytest.raises(PayloadError, match="detach"):
        encode({"loss": weight * 2}, key=KEY)


def test_models_and_the_rest(torch: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = model.state_dict()
    found = again(state, pickle=False)
    assert type(found) is type(state)
    assert found._metadata == state._metadata
    assert all(torch.equal(found[name], state[name]) for name in state)
    whole = again(model)
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), model.parameters(), strict=True))
    for constant in (
        torch.float32,
        torch.bfloat16,
        torch.device("cpu"),
        torch.device("cuda:1"),
        torch.Size([1, 2]),
    ):
        found = again([constant], pickle=False)[0]
        assert found == constant
        assert type(found) is type(constant)
    sparse = torch.sparse_coo_tensor([[0], [1]], [2.0], (2, 2), check_invariants=True)
    assert torch.equal(again(sparse).to_dense(), sparse.to_dense())


def test_device_that_is_not_here(torch: Any) -> None:
    blob = encode(torch.arange(3), key=KEY)
    moved = Blob(KEY, blob.tree.replace(b"\xa3cpu", b"\xa6cuda:9"), blob.buffers)
    found: Any = decode(moved)
    assert found.device.type == "cpu"
    assert found.tolist() == [0, 1, 2]


def test_hostile_tensors(torch: Any) -> None:
    import msgpack

    def read(
        shape: Any, strides: Any, offset: Any, name: str = "float32", flags: Any = 0, device: str = "cpu"
    ) -> None:
        from laila.blob.buffer import Buffer

        rows = [[tags.TUPLE, *shape], [tags.TUPLE, *strides]]
        refs = [msgpack.ExtType(0, b"\0"), msgpack.ExtType(0, b"\1")]
        rows.append([tags.TENSOR, 0, name, *refs, offset, flags, device, None])
        tree = tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))
        decode(Blob(KEY, tree, (Buffer(memoryview(bytes(16))),)))

    read([4], [1], 0)
    bad: list[tuple[Any, ...]] = [
        ([5], [1], 0),
        ([4], [1], 1),
        ([2], [4], 0),
        ([2**40], [1], 0),
        ([2**61, 2**61], [1, 1], 0),
        ([-1], [1], 0),
        ([4], [-1], 3),
        ([4], [1], -1),
        ([4], [1, 1], 0),
        ([1] * 65, [1] * 65, 0),
        ([4], [1], 0, "qint8"),
        ([4], [1], 0, "nothing"),
        ([4], [1], 0, "int32", 4),
        ([4], [1], 0, "float32", 1),
        ([4], [1], 0, "float32", 99),
        ([4], [1], 0, "float32", 0, "nothing"),
        ([1.0], [1], 0),
    ]
    for case in bad:
        with pytest.raises(CorruptEntryError):
            read(*case)


def test_gradients_of_gradients(torch: Any) -> None:
    import msgpack

    from laila.blob.buffer import Buffer

    def chain(length: int) -> bytes:
        rows: list[Any] = [[tags.TUPLE, 1], [tags.TUPLE, 1]]
        one, two = msgpack.ExtType(0, b"\0"), msgpack.ExtType(0, b"\1")
        for number in range(length):
            grad = msgpack.ExtType(0, (number + 1).to_bytes(3, "little")) if number else None
            rows.append([tags.TENSOR, 0, "float32", one, two, 0, 4, "cpu", grad])
        return tags.ROWS_MARK + b"".join(map(msgpack.packb, rows))

    storage = (Buffer(memoryview(bytes(16))),)
    for length in (50, 100_000):
        with pytest.raises(CorruptEntryError, match="gradient"):
            decode(Blob(KEY, chain(length), storage))
    assert decode(Blob(KEY, chain(3), storage)) is not None
    tensor: Any = torch.zeros(1, requires_grad=True)
    for _ in range(30):
        above = torch.zeros(1, requires_grad=True)
        above.grad = tensor
        tensor = above
    with pytest.raises(PayloadError, match="gradient"):
        encode(tensor, key=KEY)


def test_a_view_stores_what_it_shows(torch: Any) -> None:
    batch = torch.arange(100_000.0).reshape(1000, 100)

    def stored(payload: Any) -> list[int]:
        return [buffer.nbytes for buffer in encode(payload, key=KEY).buffers]

    assert stored(batch[3]) == [400]
    assert stored([batch[3], batch[7]]) == [400, 400]
    assert stored([batch[:, 3], batch[:, 7]]) == [4000, 4000]
    assert stored([batch[3:5], batch[4:7]]) == [1600]
    assert stored([batch[::10], batch[::20]]) == [40_000]
    assert stored(torch.zeros(3).expand(1000, 3)) == [12]
    views = [batch[3:5], batch[4:7], batch[:, :2], batch[2, 1::7]]
    found = again(views, pickle=False)
    assert all(torch.equal(one, two) for one, two in zip(views, found, strict=True))
    found[0][1, 0] = -1
    assert found[1][0, 0] == found[2][4, 0] == -1


def test_unseen_numbers_are_not_stored(torch: Any) -> None:
    secret = torch.frombuffer(bytearray(b"public secret public secret "), dtype=torch.uint8).reshape(2, 14)
    for buffer in encode([secret[:, :7], secret[0, 3:5], secret[0:1, ::13]], key=KEY).buffers:
        assert b"secre" not in bytes(buffer.data)


def test_views_of_other_dtypes(torch: Any) -> None:
    base = torch.arange(8, dtype=torch.int64)
    octets = base.view(torch.uint8)
    views = [octets[3:20], base[1:3], octets[9::2], base.view(torch.int16)[5:7]]
    found = again(views)
    assert all(torch.equal(one, two) for one, two in zip(views, found, strict=True))
    found[1][0] = -1
    assert found[0][5] == 255
    assert found[3][0] == -1


def test_gradients_inside_modules(torch: Any) -> None:
    model = torch.nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    found = again({"model": model, "optimizer": optimizer, "state": optimizer.state_dict()})
    assert torch.equal(found["model"].weight.grad, model.weight.grad)
    assert found["optimizer"].param_groups[0]["params"][0] is found["model"].weight
    assert set(found["optimizer"].state) == set(found["model"].parameters())


def test_attributes_of_tensors(torch: Any) -> None:
    tensor = torch.zeros(2)
    tensor.note = ["kept"]
    buffer = torch.nn.Buffer(torch.ones(2), persistent=False)
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.shared = True
    found = again([tensor, buffer, parameter, tensor.note], pickle=False)
    assert found[0].note is found[3]
    assert isinstance(found[1], torch.nn.Buffer)
    assert not found[1].persistent
    assert found[2].shared


def test_subclasses_of_tensors(torch: Any) -> None:
    class Labelled(torch.Tensor):  # type: ignore[misc]
        pass

    class Weight(torch.nn.Parameter):  # type: ignore[misc]
        pass

    labelled = torch.arange(3.0).as_subclass(Labelled)
    labelled.label = "x"
    weight = Weight(torch.ones(2))
    (weight.as_subclass(torch.Tensor) * 3).sum().backward()
    found = again([labelled, weight])
    assert type(found[0]).__name__ == "Labelled"
    assert found[0].label == "x"
    assert found[0].tolist() == [0, 1, 2]
    assert type(found[1]).__name__ == "Weight"
    assert found[1].requires_grad
    assert found[1].is_leaf
    assert found[1].grad.tolist() == [3, 3]


def _kinds(torch: Any) -> list[Any]:
    dense = torch.tensor([[0.0, 1, 0], [2, 0, 3]])
    square = torch.eye(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            dense.to_sparse(),
            torch.sparse_coo_tensor([[0, 0], [1, 1]], [2.0, 3.0], (2, 2), check_invariants=True),
            dense.to_sparse_csr(),
            dense.to_sparse_csc(),
            square.to_sparse_bsr((2, 2)),
            square.to_sparse_bsc((2, 2)),
            torch.quantize_per_tensor(dense, 0.5, 3, torch.qint8),
            torch.quantize_per_channel(
                dense, torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.quint8
            ),
            torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)]),
            torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.jagged),
            torch.empty(2, 3, device="meta"),
        ]


def test_other_kinds_of_tensors(torch: Any) -> None:
    for value in _kinds(torch):
        found = again([value], pickle=False)[0]
        assert found.layout == value.layout
        assert found.dtype == value.dtype
        if value.is_nested:
            pairs = zip(found.unbind(), value.unbind(), strict=True)
            assert all(torch.equal(one, two) for one, two in pairs)
            continue
        assert found.shape == value.shape
        if value.is_meta:
            assert found.is_meta
        elif value.is_quantized:
            assert found.qscheme() == value.qscheme()
            assert torch.equal(found.int_repr(), value.int_repr())
            assert torch.equal(found.dequantize(), value.dequantize())
        else:
            assert torch.equal(found.to_dense(), value.to_dense())
            if value.layout == torch.sparse_coo:
                assert found.is_coalesced() == value.is_coalesced()
                assert found._nnz() == value._nnz()


def test_random_generators(torch: Any) -> None:
    generator = torch.Generator()
    generator.manual_seed(5)
    torch.rand(3, generator=generator)
    found = again(generator, pickle=False)
    assert torch.equal(torch.rand(3, generator=found), torch.rand(3, generator=generator))


def test_a_tensor_whose_storage_is_gone(torch: Any) -> None:
    tensor = torch.ones(4)
    tensor.untyped_storage().resize_(0)
    with pytest.raises(PayloadError, match="resized") as caught:
        encode({"a": [tensor]}, key=KEY)
    assert caught.value.path == "payload['a'][0]"


def test_constants(torch: Any) -> None:
    for constant in (torch.channels_last, torch.sparse_coo, torch.per_tensor_affine, torch.quint4x2):
        assert again([constant], pickle=False)[0] is constant


def test_hostile_kinds(torch: Any) -> None:
    """Indices out of range, and the few bytes that look like many, are refused."""
    coo = encode([torch.tensor([[0.0, 1, 0], [2, 0, 3]]).to_sparse_csr()], key=KEY)
    raw = bytes(coo.buffers[1].data)
    from laila.blob.buffer import Buffer

    for bad in (b"\xff" * 8, b"\x07" + bytes(7)):
        buffers = list(coo.buffers)
        buffers[1] = Buffer(memoryview(bad + raw[8:]))
        with pytest.raises(CorruptEntryError):
            decode(Blob(KEY, coo.tree, tuple(buffers)))
    wide = torch.zeros(1, dtype=torch.int64).expand(1 << 40)
    for parts in (
        ["coo", 0, None, None, (1,), False, wide.expand(1, 1 << 40), wide],
        ["jagged", 0, None, None, wide, wide],
    ):
        from laila.codec.decoder import Decoder
        from laila.codec.tensorkinds import _decode_kind

        decoder = Decoder(coo, copy=True, trusted=False)
        with pytest.raises(ValueError, match=r"on top of each other|too long to read"):
            _decode_kind([tags.COMPOUND_TENSOR, *parts], decoder)


def test_tensors_with_attributes_inside_pickles(torch: Any) -> None:
    class Weight(torch.nn.Parameter):  # type: ignore[misc]
        pass

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.marked = torch.nn.Parameter(torch.ones(2))
            self.marked.no_decay = True
            self.own = Weight(torch.ones(2))
            self.cache = torch.nn.Buffer(torch.zeros(2), persistent=False)

    model = Model()
    (model.marked * 2 + model.own.as_subclass(torch.Tensor) * 3).sum().backward()
    found = again({"model": model, "marked": model.marked})
    assert found["marked"] is found["model"].marked
    assert found["model"].marked.no_decay
    assert found["model"].marked.grad.tolist() == [2, 2]
    assert found["model"].own.grad.tolist() == [3, 3]
    assert type(found["model"].own).__name__ == "Weight"
    assert dict(found["model"].named_buffers()).keys() == {"cache"}
    assert not found["model"].state_dict().keys() & {"cache"}
