"""Torch tensors: every dtype, views, shared storage, gradients. Run by `make test-field`."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

from laila.codec import decode, encode, tags
from laila.contract.blob import Blob
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
    assert one.stride() == two.stride()
    assert one.storage_offset() == two.storage_offset()
    assert one.requires_grad == two.requires_grad
    assert one.is_leaf == two.is_leaf
    assert one.is_conj() == two.is_conj()
    assert one.is_neg() == two.is_neg()
    assert bytes(one.untyped_storage()) == bytes(two.untyped_storage())


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
        from laila.contract.buffer import Buffer

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

    from laila.contract.buffer import Buffer

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
