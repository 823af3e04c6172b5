"""Global ids, uuids, nicknames and namespaces."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laila
from laila import identity
from laila.errors import IdentityConflictError, IdentityError, LailaError

UUID = "3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture
def _namespace() -> Iterator[None]:
    yield
    laila.set_active_namespace("laila")


scopes = st.lists(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), min_size=1, max_size=4)


@given(scopes, st.uuids(), st.none() | st.integers(0, 10**18 - 1))
def test_ids_come_apart_as_they_were_joined(some: list[str], uid: uuid.UUID, evolution: int | None) -> None:
    text = identity.make_global_id(some, str(uid), evolution)
    assert identity.parse_global_id(text) == (tuple(some), str(uid), evolution)
    assert identity.stem(text) == identity.make_global_id(some, str(uid))


@given(st.text())
def test_what_parses_has_one_spelling(text: str) -> None:
    try:
        parsed = identity.parse_global_id(text)
    except IdentityError:
        return
    assert identity.make_global_id(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        UUID,
        f"LAILA:GLOBAL_ID:{UUID}",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}-",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}-01",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}--1",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}-٣",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID.upper()}",
        f"LAILA:entry:GLOBAL_ID:{UUID}",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}\n",
        f" LAILA:ENTRY:GLOBAL_ID:{UUID}",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID[:-1]}",
        f"LAILA:ENTRY:GLOBAL_ID:{UUID}-{10**18}",
    ],
)
def test_a_malformed_id_is_a_value_error_that_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match="no global id") as caught:
        identity.parse_global_id(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, LailaError)
    assert isinstance(caught.value, IdentityError)
    assert caught.value.value == text
    with pytest.raises(IdentityError):
        identity.stem(text)
    with pytest.raises(IdentityError):
        identity.last_scope(text)


CONSTANT = f"LAILA:ENTRY:GLOBAL_ID:{UUID}"


@given(st.lists(st.sampled_from([*CONSTANT, *"gh\n\0é\ud800-:"]), max_size=3), st.integers(0, len(CONSTANT)))
def test_the_quick_look_at_ids_finds_what_the_thorough_one_does(put: list[str], at: int) -> None:
    for text in (CONSTANT[:at] + "".join(put) + CONSTANT[at + n :] for n in (0, len(put))):
        try:
            is_one = identity.parse_global_id(text)[::2] == (("ENTRY",), None)
        except IdentityError:
            is_one = False
        assert identity.are_constants([text]) == is_one
        assert identity.are_constants([CONSTANT] * 1030 + [text]) == is_one
        assert identity.are_constants([text, CONSTANT]) == is_one


def test_lines_are_no_ids() -> None:
    assert identity.are_constants([])
    assert not identity.are_constants([""])
    assert not identity.are_constants([f"{CONSTANT}\n{CONSTANT}"])
    assert not identity.are_constants([f"{CONSTANT}\n{CONSTANT}", ""])
    assert not identity.are_constants([CONSTANT, f"{CONSTANT}-0"])


@pytest.mark.parametrize("value", [None, 3, b"x", uuid.UUID(UUID)])
def test_an_id_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no global id"):
        identity.parse_global_id(value)  # type: ignore[arg-type]


def test_a_nickname_has_the_same_uuid_on_every_machine() -> None:
    assert identity.nickname_uuid("hello") == UUID
    assert laila.constant(1, nickname="hello").global_id == f"LAILA:ENTRY:GLOBAL_ID:{UUID}"
    assert uuid.uuid5(uuid.NAMESPACE_DNS, "laila") == laila.LAILA_UNIVERSAL_NAMESPACE
    assert laila.get_active_namespace() == laila.LAILA_UNIVERSAL_NAMESPACE


@pytest.mark.usefixtures("_namespace")
def test_another_namespace_gives_other_uuids_from_then_on() -> None:
    before = laila.constant(1, nickname="hello")
    laila.set_active_namespace("example.org")
    assert laila.get_active_namespace() == uuid.uuid5(uuid.NAMESPACE_DNS, "example.org")
    after = laila.constant(1, nickname="hello")
    assert after.uuid == str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"), "hello"))
    assert before.uuid == UUID


@pytest.mark.parametrize("key", ["", None, 3])
def test_a_namespace_key_is_a_text(key: object) -> None:
    with pytest.raises(ValueError, match="namespace key"):
        laila.set_active_namespace(key)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", 3, "\ud800"])
def test_a_bad_nickname_is_a_value_error(name: object) -> None:
    with pytest.raises(ValueError, match="nickname"):
        laila.constant(1, nickname=name)  # type: ignore[arg-type]


def test_new_uuids_are_random_version_4() -> None:
    made = {identity.new_uuid() for _ in range(2000)}
    assert len(made) == 2000
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)


def test_a_uuid_is_taken_in_any_case_and_kept_in_one() -> None:
    assert laila.constant(1, uuid=UUID.upper()).uuid == UUID
    for bad in ("", "x", UUID[:-1], UUID + "0", UUID.replace("-", "")):
        with pytest.raises(ValueError, match=repr(bad)):
            laila.constant(1, uuid=bad)


def test_what_is_identifiable() -> None:
    pool = laila.MemoryPool(nickname="p")
    policy = laila.DefaultPolicy(nickname="q")
    try:
        for thing, scope in [
            (laila.constant(1), "ENTRY"),
            (laila.manifest({}), "MANIFEST"),
            (pool, "POOL"),
            (policy, "POLICY"),
            (policy.central.memory, "CENTRAL_MEMORY"),
            (policy.central.command, "CENTRAL_COMMAND"),
            (policy.central.communication, "CENTRAL_COMMUNICATION"),
            (policy.central.memory.router, "POOL_ROUTER"),
            (policy.central.command.alpha_taskforce, "TASK_FORCE"),
            (laila.Future.completed(1), "FUTURE"),
            (laila.GroupFuture.completed([1]), "GROUP_FUTURE"),
        ]:
            assert thing.scopes == [scope]
            assert thing.global_id == str(thing) == f"LAILA:{scope}:GLOBAL_ID:{thing.uuid}"
            assert identity.parse_global_id(thing.global_id).scopes == (scope,)
            assert thing.evolution is None
        assert (pool.nickname, pool.uuid) == ("p", identity.nickname_uuid("p"))
        assert pool.pool_id == pool.global_id
        assert policy.nickname == "q"
    finally:
        policy.close()


def test_equality_is_by_id_and_the_hash_never_changes() -> None:
    v = laila.variable([1])
    twin = laila.variable([2], uuid=v.uuid)
    assert v == twin
    assert hash(v) == hash(twin)
    seen = {v}
    v.evolve(data=[3])
    assert v in seen
    assert v != twin
    assert hash(v) == hash(twin)
    assert v != v.global_id
    assert laila.constant(1, uuid=v.uuid) != laila.manifest({}, uuid=v.uuid)


def test_two_identities_conflict() -> None:
    with pytest.raises(RuntimeError, match="exclude each other") as caught:
        laila.constant(1, uuid=UUID, nickname="hello")
    assert isinstance(caught.value, IdentityConflictError)
    with pytest.raises(IdentityConflictError):
        identity.resolve_uuid(UUID, "hello")
