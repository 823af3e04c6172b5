"""Random generators, scipy's sparse arrays and scikit-learn's Bunch are data: they need no key."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode
from laila.errors import CorruptEntryError, MissingPluginError, PayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


def back(payload: Any) -> Any:
    return decode(Blob.from_bytes(bytes(encode(payload, key=KEY, pickle=False))))


# -- random generators

_BITS = ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"]


@pytest.mark.parametrize("name", _BITS)
def test_generators_go_on_where_they_stood(name: str) -> None:
    bits = getattr(np.random, name)(7)
    generator = np.random.Generator(bits)
    generator.random(5)
    generator.integers(0, 9, dtype="u4")
    old = np.random.RandomState(getattr(np.random, name)(3))
    old.standard_normal()
    found = back({"generator": generator, "bits": bits, "old": old, "seed": bits.seed_seq})
    assert found["generator"].bit_generator is found["bits"]
    assert found["bits"].seed_seq is found["seed"]
    assert found["generator"].integers(0, 9, 20, "u4").tolist() == generator.integers(0, 9, 20, "u4").tolist()
    assert found["old"].standard_normal(3).tolist() == old.standard_normal(3).tolist()
    assert found["generator"].spawn(1)[0].random() == generator.spawn(1)[0].random()


def test_seeds() -> None:
    legacy = np.random.RandomState(5)
    assert back(legacy).randint(0, 99, 9).tolist() == legacy.randint(0, 99, 9).tolist()
    for seed in (
        np.random.SeedSequence(),
        np.random.SeedSequence([1, 2**70], spawn_key=(3,)),
        np.random.SeedSequence(5, pool_size=8),
    ):
        seed.spawn(2)
        found = back(seed)
        assert found.state == seed.state
        assert found.generate_state(4).tolist() == seed.generate_state(4).tolist()
        assert found.spawn(1)[0].state == seed.spawn(1)[0].state


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MT19937", {"state": {"pos": 625}}),
        ("MT19937", {"state": {"pos": -1}}),
        ("MT19937", {"state": {"key": np.zeros(3, "u4")}}),
        ("Philox", {"buffer_pos": -1}),
        ("Philox", {"buffer_pos": 5}),
        ("PCG64", {"has_uint32": 2}),
        ("PCG64", {"state": {"state": 1 << 128}}),
        ("PCG64", {"bit_generator": "SFC64"}),
        ("SFC64", {"state": {"state": np.zeros(4, "i8")}}),
        ("SFC64", {"extra": 1}),
    ],
)
def test_states_that_would_be_believed(name: str, change: dict[str, Any]) -> None:
    from laila.codec.randoms import _decode_random

    state = getattr(np.random, name)(1).state
    inner = {**state["state"], **change.pop("state", {})}
    with pytest.raises((ValueError, TypeError)):
        _decode_random([60, name, None, {**state, "state": inner, **change}], None)  # type: ignore[arg-type]


def test_generators_that_cannot_be() -> None:
    for row in (
        [60],
        [60, "Generator", 1],
        [60, "PCG64", 1, {}],
        [60, "os", None, None],
        [60, "SeedSequence", "x"],
    ):
        with pytest.raises(CorruptEntryError):
            decode(Blob(KEY, b"\xc1" + bytes(msgpack.packb(row)), (), None, (0.0, "x", 1, "rows", None)))


# -- sparse arrays

_FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("name", _FORMATS)
def test_sparse(name: str, kind: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.array([[0, 1.5, 0, 0], [2, 0, 0, 3]])
    for dtype in ("f4", "f8", "c16", "i1", "?"):
        value = getattr(sparse, f"{name}_{kind}")(dense.astype(dtype))
        value.note = ["kept"]
        found = back([value, value.note])
        assert type(found[0]) is type(value)
        assert found[0].dtype == value.dtype
        assert found[0].shape == value.shape
        assert found[0].note is found[1]
        assert found[0].toarray().tolist() == value.toarray().tolist()
        assert vars(found[0]).keys() == vars(value).keys()
        assert (found[0] @ np.ones(4)).tolist() == (value @ np.ones(4)).tolist()


def test_sparse_of_other_shapes() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    wide = sparse.csr_array((np.ones(2), np.array([0, 5], "i8"), np.array([0, 2], "i8")), shape=(1, 9))
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    assert wide.has_canonical_format
    line = sparse.coo_array(np.array([0, 1.0, 0]))
    cube = sparse.coo_array(np.arange(8.0).reshape(2, 2, 2))
    empty = sparse.csc_array((0, 3))
    twice = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    found = back([wide, line, cube, empty, twice, sparse.csr_array(line), sparse.dok_array(line)])
    assert found[0].indices.dtype == np.int64
    assert found[0]._has_canonical_format
    assert found[1].toarray().tolist() == [0, 1, 0]
    assert found[2].toarray().tolist() == cube.toarray().tolist()
    assert found[3].shape == (0, 3)
    assert found[4].nnz == 2
    assert found[5].toarray().tolist() == found[6].toarray().tolist() == [0, 1, 0]


def test_sparse_arrays_share_their_data() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    first = sparse.csr_array(np.eye(3))
    second = sparse.csr_array((first.data, first.indices, first.indptr), shape=(3, 3))
    found = back([first, second])
    found[0].data[0] = 7
    assert found[1][0, 0] == 7


def test_sparse_that_cannot_be_used() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    broken = sparse.csr_array(np.eye(3))
    broken.indices[1] = 7
    with pytest.raises(PayloadError, match=r"payload\['a'\]"):
        back({"a": broken})


@pytest.mark.parametrize("name", _FORMATS)
def test_hostile_sparse(name: str) -> None:
    """Whatever is changed in the indices is refused, or harmless."""
    sparse = pytest.importorskip("scipy.sparse")
    value = getattr(sparse, f"{name}_array")(np.array([[0, 1.5, 0, 0], [2, 0, 0, 3]]))
    blob = encode(value, key=KEY)
    for number, buffer in enumerate(blob.buffers):
        for bad in (b"\xff", b"\x7f", b"\x05"):
            data = memoryview(bad * buffer.nbytes)
            buffers = list(blob.buffers)
            buffers[number] = Buffer(data, buffer.dtype, buffer.shape, buffer.order)
            try:
                found: Any = decode(Blob(KEY, blob.tree, tuple(buffers)))
            except CorruptEntryError:
                continue
            assert np.isfinite(found.toarray()).size == 8
    with pytest.raises(CorruptEntryError):
        decode(Blob(KEY, blob.tree.replace(b"_array", b"_arrax"), blob.buffers))


# -- scikit-learn


def test_bunch() -> None:
    utils = pytest.importorskip("sklearn.utils")
    inner = utils.Bunch(x=np.arange(3))
    value = utils.Bunch(data=np.eye(2), names=["a", "b"], inner=inner, again=inner)
    found = back({"b": value})["b"]
    assert type(found) is utils.Bunch
    assert list(found) == ["data", "names", "inner", "again"]
    assert found.inner is found.again
    assert found.data.tolist() == [[1, 0], [0, 1]]
    assert vars(found) == vars(value)
    with pytest.raises(PayloadError) as caught:
        back(utils.Bunch(x=[print, lambda: 1]))
    assert caught.value.path is not None
    assert caught.value.path.startswith("payload['x'][")


def test_data_sets_and_results() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    found = back(datasets.load_iris())
    assert found.target_names.tolist() == ["setosa", "versicolor", "virginica"]
    masked = np.ma.MaskedArray([1, 2], mask=False, fill_value="?", dtype=object)
    assert repr(back({"param_C": masked})["param_C"]) == repr(masked)


# -- results of scipy


def test_results_of_scipy_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dicts with attributes, named tuples, bounds: they need no key, and say so where scipy is missing."""
    import sys

    from scipy import integrate, optimize, stats

    result = optimize.linprog([1, 2], bounds=[(0, 1), (1, 3)])
    found = back([result, optimize.Bounds([0.0], [1.0]), stats.describe([1.0, 2.0, 4.0])])
    assert type(found[0]) is type(result)
    assert found[0].fun == result.fun
    assert found[0].x.tolist() == result.x.tolist()
    assert found[1].ub.tolist() == [1.0]
    assert found[2] == stats.describe([1.0, 2.0, 4.0])
    numbers = ([1.0, 2.0, 4.0], [2.0, 3.0, 3.5])
    for test in (stats.ttest_ind, stats.linregress, stats.pearsonr, stats.spearmanr, stats.wilcoxon):
        given: Any = test(*numbers)
        other: Any = decode(encode(given, key=KEY, pickle=False))
        assert type(other) is type(given)
        assert [*other] == [*given]
        assert list(vars(other)) == list(vars(given))
    steps = back(integrate.solve_ivp(lambda t, y: -y, (0, 1), [1.0]))
    assert steps.success
    blob = encode(result, key=KEY, pickle=False)
    monkeypatch.setitem(sys.modules, "scipy.optimize._optimize", None)
    with pytest.raises(MissingPluginError, match="pip install 'scipy'"):
        decode(blob)
