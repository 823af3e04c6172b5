"""Entries alone: construction, evolution, state, metadata, serialize and recover. Pools are elsewhere."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import laila
from laila.entry import EntryState, as_blob, from_blob, to_blob
from laila.errors import (
    CorruptEntryError,
    EntryDictError,
    EntryTypeError,
    IdentityConflictError,
    IdentityError,
    ImmutableEntryError,
    LailaError,
    NotSupportedError,
    PayloadError,
    SecretError,
)
from laila.testing.payloads import assert_same, payloads, plain_payloads

UUID = "3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
ID = f"LAILA:ENTRY:GLOBAL_ID:{UUID}"


def test_a_constant() -> None:
    data = [1]
    entry = laila.constant(data, uuid=UUID)
    assert entry.data is data
    assert (entry.global_id, entry.uuid, entry.evolution, entry.scopes) == (ID, UUID, None, ["ENTRY"])
    assert entry.state is EntryState.READY
    assert entry.nickname is None
    assert laila.constant(None).data is None
    with pytest.raises(ImmutableEntryError, match=UUID) as caught:
        entry.evolve(data=[2])
    assert isinstance(caught.value, RuntimeError)
    assert entry.data == [1]


def test_a_variable_evolves() -> None:
    entry = laila.variable([1], uuid=UUID)
    assert (entry.evolution, entry.global_id) == (0, f"{ID}-0")
    entry.state = EntryState.POOLED
    assert entry.evolve(data=[2]) is entry
    assert (entry.evolution, entry.global_id, entry.data) == (1, f"{ID}-1", [2])
    assert entry.state is EntryState.READY
    assert entry.evolve(data=None).data is None
    assert laila.variable(1, evolution=7).evolve(data=2).evolution == 8
    assert laila.variable(1, global_id=f"{ID}-4").evolution == 4
    assert laila.variable(1, global_id=f"{ID}-4", evolution=4).evolution == 4
    assert laila.variable(1, global_id=ID).evolution == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"uuid": UUID, "global_id": ID}, IdentityConflictError),
        ({"nickname": "n", "global_id": ID}, IdentityConflictError),
        ({"nickname": "n", "uuid": UUID}, IdentityConflictError),
        ({"global_id": f"{ID}-0"}, IdentityConflictError),
        ({"global_id": "nonsense"}, IdentityError),
        ({"global_id": f"LAILA:POOL:GLOBAL_ID:{UUID}"}, IdentityError),
        ({"global_id": f"LAILA:MANIFEST:GLOBAL_ID:{UUID}"}, IdentityError),
        ({"uuid": "nonsense"}, IdentityError),
    ],
)
def test_bad_identity_of_a_constant(arguments: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        laila.constant(1, **arguments)  # type: ignore[arg-type]
    assert any(repr(value) in str(caught.value) for value in arguments.values())


@pytest.mark.parametrize("evolution", [-1, True, 1.0, "1", 10**18])
def test_a_bad_evolution(evolution: Any) -> None:
    with pytest.raises(IdentityError, match="evolution"):
        laila.variable(1, evolution=evolution)


def test_an_evolution_that_disagrees_with_the_id() -> None:
    with pytest.raises(IdentityConflictError, match="disagree"):
        laila.variable(1, global_id=f"{ID}-3", evolution=4)


def test_a_constitution_is_not_supported_yet() -> None:
    with pytest.raises(NotImplementedError) as caught:
        laila.variable(None, constitution=lambda: 1)
    assert isinstance(caught.value, NotSupportedError)
    with pytest.raises(NotImplementedError):
        laila.variable(1).evolve(constitution=lambda: 1)
    with pytest.raises(RuntimeError, match="exclude"):
        laila.variable(1, constitution=lambda: 1)
    with pytest.raises(RuntimeError, match="exclude"):
        laila.variable(1).evolve(constitution=lambda: 1, data=2)


def test_the_constructor_takes_every_part_by_keyword() -> None:
    entry = laila.Entry(data=1, uuid=UUID, evolution=3, scopes=["ENTRY"], state=EntryState.STALE)
    assert (entry.global_id, entry.data, entry.state) == (f"{ID}-3", 1, EntryState.STALE)
    assert laila.Entry(payload=2, nickname="hello").global_id == ID
    assert laila.Entry(data=3, global_id=f"{ID}-5").evolution == 5
    assert laila.Entry(data=3, global_id=ID).evolution is None
    assert laila.Entry(scopes=("RUN", "ENTRY"), uuid=UUID).global_id == f"LAILA:RUN:ENTRY:GLOBAL_ID:{UUID}"
    for bad in (["bad"], ["POOL"], [], ["ENTRY", "POOL"], "ENTRY"):
        with pytest.raises(ValueError, match=r"scopes|global id"):
            laila.Entry(scopes=bad)
    with pytest.raises(IdentityConflictError):
        laila.Entry(data=1, payload=2)
    with pytest.raises(IdentityConflictError):
        laila.Entry(scopes=["RUN", "ENTRY"], global_id=ID)
    with pytest.raises(TypeError):
        laila.Entry(nonsense=1)  # type: ignore[call-arg]


def test_contingent_checks_nothing_and_is_staged() -> None:
    entry = laila.contingent(data=1, uuid="any", evolution=-4, scopes=["x"], nickname="free")
    assert (entry.uuid, entry.evolution, entry.scopes, entry.nickname) == ("any", -4, ["x"], "free")
    assert entry.state is EntryState.STAGED
    assert laila.contingent(payload=2, global_id=f"{ID}-6").global_id == f"{ID}-6"
    assert laila.contingent(nickname="hello").global_id == ID
    assert laila.contingent(data=1, state=EntryState.READY).state is EntryState.READY
    assert laila.contingent(nonsense=1).data is None


def test_the_state_is_written_with_an_entry_state_only() -> None:
    entry = laila.constant(1)
    for state in EntryState:
        entry.state = state
        assert entry.state is state
    for bad in ("READY", "ready", None, 1):
        with pytest.raises(TypeError):
            entry.state = bad  # type: ignore[assignment]
    with pytest.raises(TypeError):
        laila.Entry(state="ready")  # type: ignore[arg-type]


def test_metadata_of_a_new_entry_is_read_only() -> None:
    before = time.time()
    entry = laila.constant({"x": 1}, metadata={"who": "me"})
    metadata = entry.metadata
    assert before <= metadata["created"] <= time.time()  # type: ignore[operator]
    assert metadata["type"] == "dict"
    assert metadata["user"] == {"who": "me"}
    with pytest.raises(TypeError):
        metadata["user"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        metadata["user"]["who"] = 1
    assert laila.constant(Path("x")).metadata["type"] == to_blob(laila.constant(Path("x"))).metadata["type"]


def test_metadata_survives_the_blob_and_evolution() -> None:
    entry = laila.variable(np.arange(3.0), metadata={"run": 7})
    back = from_blob(to_blob(entry))
    assert back.metadata["created"] == entry.metadata["created"]
    assert back.metadata["type"] == entry.metadata["type"] == "numpy.ndarray"
    assert back.metadata["user"] == {"run": 7}
    assert back.metadata["transformations"] == ()
    assert back.metadata["codec"] == "rows"
    assert isinstance(back.metadata["size"], int)
    assert back.metadata["size"] >= 24
    again = from_blob(to_blob(back))
    assert dict(again.metadata) == dict(back.metadata)
    back = from_blob(to_blob(entry)).evolve(data=1)
    assert back.metadata["user"] == {"run": 7}
    assert dict(back.metadata)["type"] == "int"
    assert from_blob(to_blob(back)).metadata["user"] == {"run": 7}


@pytest.mark.parametrize("bad", [{1: 2}, {"x": object()}, {"x": {1, 2}}])
def test_metadata_is_plain(bad: dict[Any, Any]) -> None:
    with pytest.raises(PayloadError, match="metadata"):
        to_blob(laila.constant(1, metadata=bad))


def test_an_entry_can_be_copied() -> None:
    entry = laila.variable([1], nickname="hello")
    twin = copy.copy(entry)
    twin.evolve(data=[2])
    assert (entry.evolution, entry.data) == (0, [1])
    assert copy.deepcopy(entry).data == [1]


# -- serialize and recover -----------------------------------------------------------------------------------


@given(plain_payloads())
@settings(max_examples=100)
def test_json_carries_any_payload_with_base64(payload: Any) -> None:
    entry = laila.variable(payload, nickname="hello", evolution=3, metadata={"k": [1]})
    text = json.dumps(entry.serialize(["base64"]))
    back = laila.Entry.recover(text)
    assert_same(payload, back.data)
    assert back == entry
    assert (back.nickname, back.evolution, back.state) == ("hello", 3, EntryState.READY)
    assert back.metadata["user"] == {"k": [1]}


@given(payloads())
@settings(max_examples=60, deadline=None)
def test_a_dict_carries_any_payload(payload: Any) -> None:
    entry = laila.constant(payload)
    assert_same(payload, laila.Entry.recover(entry.serialize()).data)


@pytest.mark.parametrize(
    "steps",
    [
        ["zlib"],
        ["zlib", "base64"],
        ["base64", "zlib"],
        ["zstd", "base64"],
        laila.TransformationSequence(["zlib"]),
    ],
)
def test_transformations_of_a_serialized_entry(steps: Any) -> None:
    entry = laila.constant({"x": [1] * 1000}, nickname="hello")
    given_dict = entry.serialize(steps)
    assert len(given_dict["payload"]) < 400
    back = laila.Entry.recover(given_dict)
    assert back.data == entry.data
    assert back.metadata["transformations"] == tuple(name for name, _ in given_dict["transformations"])


def test_an_encrypted_entry_in_json() -> None:
    pytest.importorskip("cryptography")
    from laila.transform import AesGcm

    key = b"k" * 32
    given_dict = laila.constant({"secret": "sesame"}, nickname="hello").serialize([AesGcm(key=key), "base64"])
    text = json.dumps(given_dict)
    assert "sesame" not in text
    assert key.decode() not in text
    with pytest.raises(SecretError):
        laila.Entry.recover(text)


def test_exclude_private_leaves_names_out() -> None:
    entry = laila.constant(1)
    whole = entry.serialize()
    assert set(whole) > {"global_id", "scopes", "uuid", "evolution", "nickname", "payload"}
    assert entry.serialize(exclude_private={"nickname", "no such name"}) == {
        name: value for name, value in whole.items() if name != "nickname"
    }
    assert entry.serialize(exclude_private=None) == whole


def test_recover_returns_an_entry_as_it_is() -> None:
    entry = laila.constant(1)
    assert laila.Entry.recover(entry) is entry
    manifest = laila.manifest({"a": entry})
    assert laila.Entry.recover(manifest) is manifest
    assert laila.Manifest.recover(manifest) is manifest
    with pytest.raises(ValueError, match="Manifest"):
        laila.Manifest.recover(entry)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", '{"a": 1}', "[" * 100_000])
def test_bad_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|missing") as caught:
        laila.Entry.recover(text)
    assert isinstance(caught.value, EntryDictError)


@pytest.mark.parametrize("thing", [None, 1, b"{}", [1], ("a",)])
def test_other_types_are_a_runtime_error(thing: Any) -> None:
    with pytest.raises(RuntimeError) as caught:
        laila.Entry.recover(thing)
    assert isinstance(caught.value, EntryTypeError)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": 3},
        {"payload": b"short"},
        {"payload": None},
        {"global_id": "nonsense"},
        {"global_id": 3},
        {"global_id": ID},
        {"format": 99},
        {"transformations": 3},
        {"transformations": [["no such thing", {}]]},
        {"transformations": [["zlib"]]},
        {"transformations": [["zlib", {}]]},
        {"transformations": [["base64", {"size": 10}]]},
    ],
)
def test_a_damaged_dict_is_a_value_error(change: dict[str, Any]) -> None:
    entry = laila.constant([1, 2, 3])
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - of several kinds, all of laila's
        laila.Entry.recover({**entry.serialize(), **change})
    assert isinstance(caught.value, LailaError)


def test_every_cut_and_every_flipped_byte_is_found() -> None:
    whole = laila.constant({"x": "y" * 20}).serialize()
    payload = whole["payload"]
    for i in range(len(payload)):
        with pytest.raises(CorruptEntryError):
            laila.Entry.recover({**whole, "payload": payload[:i]})
        damaged = payload[:i] + bytes([payload[i] ^ 1]) + payload[i + 1 :]
        with pytest.raises(CorruptEntryError):
            laila.Entry.recover({**whole, "payload": damaged})


def test_as_blob_is_a_snapshot_of_mutable_bytes() -> None:
    data = bytearray(b"abc")
    blob = as_blob("k", data)
    data[0] = 0
    assert as_blob("k", bytes(blob)).tree == blob.tree
    with pytest.raises(TypeError, match=r"laila\.constant"):
        as_blob("k", 3)  # type: ignore[arg-type]


def test_repr_does_not_show_the_payload() -> None:
    text = repr(laila.constant("hunter2", nickname="hello"))
    assert "hunter2" not in text
    assert UUID in text
    assert "'hello'" in text
