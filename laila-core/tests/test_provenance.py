"""Where an entry came from: written with it, kept by whatever carries it, bounded, and signed."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from laila.blob.blob import Blob
from laila.entry import from_blob, to_blob
from laila.entry.provenance import NOTE, pack_provenance
from laila.errors import (
    CorruptEntryError,
    IdentityError,
    InvalidArgumentError,
    InvalidValueError,
    PayloadError,
    UntrustedPayloadError,
)

pytestmark = pytest.mark.usefixtures("policy")


def train(rate: float) -> float:
    return rate


def test_it_comes_back_with_the_entry() -> None:
    data = laila.constant([1, 2], by="content")
    entry = laila.constant([3], nickname="of provenance")
    assert entry.provenance is None
    given = {"inputs": [data], "function": train, "parameters": {"rate": 0.1}, "note": {"seed": 7}}
    laila.memorize(entry, provenance=given).wait()
    found = laila.remember(entry).result.provenance
    assert found == entry.provenance
    assert found is not None
    assert found["inputs"] == [data.global_id]
    code = hashlib.sha256(inspect.getsource(train).encode()).hexdigest()
    assert found["function"] == {"name": f"{__name__}:train", "code": code}
    assert found["note"] == {"seed": 7}
    assert isinstance(found["time"], float)
    assert set(found["versions"]) == {"python", "laila-core"}
    with pytest.raises(TypeError):
        found["time"] = 0
    assert isinstance(given["inputs"], list)
    assert given["inputs"] == [data]  # what was given stays as it is


def test_equal_parameters_have_one_digest() -> None:
    def digest(parameters: object) -> object:
        entry = laila.constant(0)
        laila.memorize(entry, provenance={"parameters": parameters}).wait()
        assert entry.provenance is not None
        return entry.provenance["parameters"]

    assert digest({"a": {"x", "y"}}) == digest({"a": {"y", "x"}}) != digest({"a": {"x"}})
    with pytest.raises(PayloadError):
        digest(lambda: 0)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([1], InvalidArgumentError),
        ({1: 2}, InvalidArgumentError),
        ({"a": object()}, InvalidArgumentError),
        ({"a": (1, 2)}, InvalidArgumentError),
        ({"inputs": 5}, InvalidArgumentError),
        ({"inputs": ["no id"]}, IdentityError),
        ({"a": "x" * 65_537}, InvalidValueError),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_written(given: Any, error: type[Exception]) -> None:
    entry = laila.constant(1)
    for call in (laila.memorize, laila.memory.memorize):
        with pytest.raises(error):
            call(entry, provenance=given)
    with pytest.raises(error):
        laila.Manifest({"a": entry}).memorize(provenance=given)
    assert laila.remember(entry, missing_ok=True).result is None
    assert entry.provenance is None


def test_callables_of_all_kinds() -> None:
    from functools import partial

    class Model:
        def __call__(self) -> None: ...

        def fit(self) -> None: ...

    namespace: dict[str, Any] = {"__name__": "made"}
    exec("def without_source(): return 1", namespace)
    for function in (partial(train, 1), Model(), Model().fit, len, namespace["without_source"], Model):
        entry = laila.constant(0)
        laila.memorize(entry, provenance={"function": function}).wait()
        assert entry.provenance is not None
        described = entry.provenance["function"]
        assert isinstance(described, dict)
        assert ":" in described["name"]
        assert ("code" in described) is (function is not len)


@pytest.mark.parametrize("transformations", [[], ["zlib"], ["aes-gcm"], ["zlib", "aes-gcm", "base64"]])
def test_copies_and_transformations_keep_it(
    transformations: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAILA_ENCRYPTION_KEY", "a key for this test only, of some length")
    source = laila.MemoryPool(transformations=transformations)
    dest = laila.MemoryPool(transformations=["zlib"])
    laila.memory.extend(source, pool_nickname=str(tmp_path))
    laila.memory.extend(dest, pool_nickname=f"{tmp_path} 2")
    entries = [
        laila.constant(np.arange(9)),
        laila.variable({"a": 1}),
        laila.Manifest({"a": laila.constant(1)}),
    ]
    laila.memorize(entries, pool_id=source.global_id, provenance={"run": 5}).wait()
    (dest <= source).wait()
    for pool in (source, dest):
        for entry in entries:
            found: Any = laila.remember(entry, pool_id=pool.global_id).result
            assert found.provenance == entry.provenance
            assert found.provenance["run"] == 5
    leaf = entries[2]["a"]  # type: ignore[index]
    assert laila.remember(leaf, pool_id=dest.global_id).result.provenance is None


def test_what_the_entry_does_with_it() -> None:
    variable = laila.variable([1])
    laila.memorize(variable, provenance={"run": 1}).wait()
    other = laila.remember(variable).result
    again = laila.Entry.recover(other.serialize(["base64"]))
    assert again.provenance == variable.provenance
    moved = laila.remember(variable).result
    laila.memorize(variable.evolve(data=[2])).wait()
    assert variable.provenance is None
    moved.evolve(data=[3])
    assert moved.provenance is None
    laila.memorize(moved, on_conflict="next", provenance={"run": 3}).wait()
    assert moved.evolution == 2
    found = laila.remember(moved).result.provenance
    assert found is not None
    assert found["run"] == 3


def test_what_is_there_keeps_its_own_unless_overwritten() -> None:
    def stored() -> Any:
        return laila.remember(nickname="kept provenance").result.provenance

    def memorize(run: int | None, **options: Any) -> None:
        entry = laila.constant([1], nickname="kept provenance")
        given: Any = {} if run is None else {"provenance": {"run": run}}
        laila.memorize(entry, **given, **options).wait()

    memorize(1)
    first = stored()
    memorize(2)
    assert stored() == first
    memorize(1, overwrite=True)
    memorize(None, overwrite=True)
    assert stored() == first  # the same was said, at another time
    memorize(2, overwrite=True)
    assert stored()["run"] == 2


class Undeclared:
    pass


def test_the_signature_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a key for this test only, of some length")
    entry = laila.constant(Undeclared())
    laila.memorize(entry, provenance={"run": 1}).wait()
    blob = to_blob(entry)
    assert isinstance(from_blob(Blob.from_bytes(bytes(blob))).data, Undeclared)
    for notes in (None, {NOTE: pack_provenance({"run": 2})}):
        forged = Blob(blob.key, blob.tree, blob.buffers, None, blob._meta, (), blob.signature, notes=notes)
        with pytest.raises(UntrustedPayloadError):
            from_blob(Blob.from_bytes(bytes(forged)))


@pytest.mark.parametrize(
    "note",
    [b"", b"\xc1", b"\x91\x01", b"\x81\x01\x02", b"\xdd\xff\xff\xff\xff", b"\x91" * 60_000, b"\x80\x80"],
)
def test_a_forged_note_is_told_when_it_is_read(note: bytes) -> None:
    blob = to_blob(laila.constant([1]))
    forged = Blob(blob.key, blob.tree, (), None, blob._meta, notes={NOTE: note})
    entry = from_blob(Blob.from_bytes(bytes(forged)))
    assert entry.data == [1]
    with pytest.raises(CorruptEntryError, match="provenance"):
        _ = entry.provenance


def test_unknown_notes_are_kept() -> None:
    blob = to_blob(laila.constant([1]))
    noted = Blob(blob.key, blob.tree, (), None, blob._meta, notes={"Later": b"x"})
    entry = from_blob(noted)
    laila.memorize(entry, provenance={"run": 1}).wait()
    found = laila.remember(entry).result
    assert to_blob(found).notes == {"Later": b"x", **(to_blob(entry).notes or {})}
    assert found.provenance == entry.provenance
