"""What an author's class is told at once: reserved names, unknown promises, answers of a wrong type, URLs."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

import laila
from laila.component.authored import Authored, reserved_names
from laila.contract import Blob, Pool, Protocol, RemoteTaskForce, TaskForce
from laila.errors import ContractError, EntryNotFoundError, NotSupportedError, SettingsError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-pool.md"


class DictPool(Pool):
    """Right in every way; what is wrong is added below."""

    def __init__(self, path: str = "", nickname: str | None = None) -> None:
        super().__init__(nickname=nickname)
        self.path = path
        self._blobs: dict[str, bytes] = {}

    def _read(self, key: str) -> Any:
        return self._blobs.get(key)

    def _write(self, key: str, blob: Blob) -> None:
        self._blobs[key] = bytes(blob)

    def _delete(self, key: str) -> Any:
        return self._blobs.pop(key, None) is not None

    def _exists(self, key: str) -> Any:
        return key in self._blobs

    def _keys(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def _empty(self) -> None:
        self._blobs.clear()


@pytest.fixture
def policy() -> Iterator[laila.DefaultPolicy]:
    with laila.DefaultPolicy() as policy:
        yield policy


def test_a_method_with_a_reserved_name_is_refused_where_it_is_defined() -> None:
    with pytest.raises(
        ContractError, match=r"Wrong defines _compare, which laila's base class uses"
    ) as caught:

        class Wrong(DictPool):
            def _compare(self) -> None:  # type: ignore[override]
                pass

    assert "_transformations" in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("name", ["_origin", "_counter", "_closed"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_an_attribute_with_a_reserved_name_is_refused_where_it_is_set(name: str, first: bool) -> None:
    class Wrong(DictPool):
        def __init__(self) -> None:
            if first:
                setattr(self, name, "http://origin")
            super().__init__()
            setattr(self, name, "http://origin")

    with pytest.raises(ContractError, match=f"Wrong sets self.{name}, which laila's base class uses"):
        Wrong()


def test_an_attribute_that_hides_a_method_is_refused() -> None:
    class Wrong(DictPool):
        def __init__(self) -> None:
            super().__init__()
            self._keys = {}  # type: ignore[assignment,method-assign]

    with pytest.raises(ContractError, match=r"self\._keys, which would hide the method"):
        Wrong()


def test_every_other_name_is_the_authors() -> None:
    pool = DictPool()
    pool._lock = 1  # type: ignore[attr-defined]
    pool._client = 2  # type: ignore[attr-defined]
    pool._read = pool._blobs.get  # type: ignore[method-assign,assignment]  # a callable may take its place


@pytest.mark.parametrize("name", ["durability", "writers", "creation", "batches", "listing"])
def test_a_promise_that_laila_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match=f"Wrong.{name} is 'forever'; it must be "):
        type("Wrong", (DictPool,), {name: "forever", "__module__": __name__})


@pytest.mark.parametrize("limit", ["x", -1, 0, 1.5])
def test_a_limit_that_is_no_number_of_bytes_is_refused(limit: object) -> None:
    with pytest.raises(ContractError, match=r"Wrong\.max_blob_bytes is .*; it must be a number of bytes"):
        type("Wrong", (DictPool,), {"max_blob_bytes": limit, "__module__": __name__})


@pytest.mark.parametrize("name", ["global_id", "nickname", "hits", "close", "keys"])
def test_a_value_that_hides_what_the_base_has_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match=rf"Wrong\.{name} is 3, which would hide"):
        type("Wrong", (DictPool,), {name: 3, "__module__": __name__})


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("_keys", None, "a NoneType"),
        ("_keys", "abc", "a str"),
        ("_keys", [1], "a int among them"),
        ("_keys", [b"key"], "a bytes among them"),
        ("_evolutions", 3, "3"),
        ("_evolutions", ["1"], "'1'"),
        ("_evolutions", [-1], "-1"),
        ("_evolutions", [2, 1], "2, 1"),
        ("_newest", 3, "3"),
        ("_newest", "another key", "'another key'"),
    ],
)
def test_keys_and_evolutions_that_are_wrong_are_told(method: str, answer: object, said: str) -> None:
    wrong = type("Wrong", (DictPool,), {method: lambda *_: answer, "__module__": __name__})(nickname="wrong")
    with pytest.raises(
        ContractError, match=rf"Wrong\.{method} returned .*{re.escape(said)}.*in pool 'wrong'"
    ):
        _ = wrong.keys() if method == "_keys" else wrong.newest_here([KEY])


def test_a_head_that_is_none_is_told() -> None:
    wrong = type("Wrong", (DictPool,), {"_read_head": lambda *_: 3, "__module__": __name__})(nickname="wrong")
    with pytest.raises(ContractError, match=r"gave a int; it must give a blob, the bytes .*pool 'wrong'"):
        wrong.read_head(KEY)


def _code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)


@pytest.mark.parametrize("base", [Pool, TaskForce, RemoteTaskForce, Protocol])
def test_all_that_a_base_sets_on_itself_is_reserved(base: type[Authored]) -> None:
    functions = [
        getattr(getattr(value, "fget", value), "__func__", getattr(value, "fget", value))
        for owner in base.__mro__
        if owner.__module__.startswith("laila")
        for value in vars(owner).values()
    ]
    sets = {
        store.argval
        for function in functions
        if isinstance(function, FunctionType)
        for code in _code(function.__code__)
        for load, store in zip(
            list(dis.get_instructions(code)), list(dis.get_instructions(code))[1:], strict=False
        )
        if store.opname == "STORE_ATTR" and load.argval == "self" and store.argval[0] == "_"
    }
    assert sets
    assert sets <= reserved_names(base)


def test_the_page_lists_the_reserved_names() -> None:
    (line,) = re.findall(r"says so at once: (.*?)\. A\s", PAGE.read_text(), re.DOTALL)
    assert re.findall(r"`(\w+)`", line) == sorted(reserved_names(Pool))


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("_read", "text", "a read of .* gave a str"),
        ("_read", 3, "a read of .* gave a int"),
        ("_read", [3], "a read of .* gave a int"),
        ("_read_many", None, "_read_many returned a NoneType"),
        ("_read_many", [], "_read_many returned 0 answers"),
        ("_read_heads", [None, None], "_read_heads returned 2 answers"),
        ("_create", None, "a NoneType among them; it must return a list of 1 answers, each of them bool"),
        ("_create_many", [1], "a int among them"),
        ("_delete", "yes", "a str among them"),
        ("_exists", None, "_exists returned a NoneType; it must return bool"),
    ],
)
def test_an_answer_of_a_wrong_type_names_the_class_and_the_method(
    method: str, answer: object, said: str, policy: laila.DefaultPolicy
) -> None:
    pool = DictPool(nickname="mine")
    policy.extend(pool)
    entry = laila.constant(1)
    memory = policy.central.memory
    if method not in ("_create", "_create_many"):
        memory.memorize(entry, pool_nickname="mine").wait()
    object.__setattr__(pool, method, lambda *_: answer)

    def use() -> None:
        memory.memorize(entry, pool_nickname="mine").wait()
        memory.remember(entry, pool_nickname="mine").wait()
        memory.forget(entry, pool_nickname="mine").wait()
        pool.exists(entry.global_id)

    with pytest.raises(ContractError, match=said) as caught:
        use()
    assert "DictPool" in str(caught.value) or "mine" in str(caught.value)


class ByUrl(DictPool):
    def __init__(self, url: str) -> None:
        super().__init__(path=url)


class ByNothing(DictPool):
    def __init__(self, folder: str = "") -> None:
        super().__init__(path=folder)


def test_the_default_of_from_url() -> None:
    assert DictPool.from_url("folder:///data/my%20notes").path == "/data/my notes"
    assert DictPool.from_url("folder:notes", nickname="x").path == "notes"
    assert ByUrl.from_url("box://host/place?x=1").path == "box://host/place?x=1"
    for url in ("folder://host/notes", "folder:notes?x=1", "folder:notes#x", "folder:"):
        with pytest.raises(SettingsError, match="a scheme and a path"):
            DictPool.from_url(url)
    with pytest.raises(
        NotSupportedError, match=r"a parameter path= \(or url=\), or the class a classmethod from_url"
    ):
        ByNothing.from_url("folder:notes")


def test_a_missing_entry_is_still_missing(policy: laila.DefaultPolicy) -> None:
    policy.extend(DictPool(nickname="mine"))
    with pytest.raises(EntryNotFoundError):
        policy.central.memory.remember(laila.constant(1), pool_nickname="mine").wait()
