"""What a policy that this one has connected to answers may be anything: it is checked, and then believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import laila
from laila.codec import encode
from laila.contract import Protocol, RemoteFuture, Request
from laila.contract.wire import unpack, unpack_error
from laila.errors import CorruptEntryError, LailaError, PeerError

PEER = "LAILA:POLICY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


class Liar(Protocol):
    """Answers every call with what it was given."""

    laila_contract = 1
    answer: Any = None

    def _start(self, node: object) -> None: ...
    def _stop(self) -> None: ...
    def _connect(self, uri: str, secret: str) -> str:
        return PEER

    def _call(self, peer: str, request: Request) -> object:
        return self.answer

    def send(self, peer: str, request: Request, future: RemoteFuture[Any]) -> None:
        future.deliver(self.answer)


@pytest.fixture
def liar() -> Iterator[tuple[Liar, Any]]:
    policy = laila.DefaultPolicy()
    laila.active_policy = policy
    protocol = Liar()
    communication = policy.central.communication
    communication.add_connection(protocol)
    communication.peer_joined(PEER, protocol)
    yield protocol, laila.peers[PEER]
    policy.close()


A, B = laila.constant(1), laila.constant(2)
OTHER = encode([2], key=B.global_id)
LIES: list[Any] = [OTHER, "text", 7, [OTHER], [None, None], {}, [OTHER] * 1000, encode([1], key="no id"), ()]


@pytest.mark.parametrize("lie", LIES, ids=map(str, range(len(LIES))))
def test_an_entry_that_was_not_asked_for_is_not_taken(liar: tuple[Liar, Any], lie: object) -> None:
    protocol, peer = liar
    protocol.answer = lie
    memory = peer.central.memory
    asked: list[Callable[[], object]] = [
        lambda: memory.remember(A.global_id).wait(),
        lambda: memory.remember(nickname="name").wait(),
        lambda: memory.remember([A.global_id]).wait(),
        lambda: memory.remember(nickname=["name"]).wait(),
        lambda: memory.remember_manifest(laila.manifest({"a": A.global_id})).wait(),
        lambda: peer.find(A.global_id),
        lambda: peer.remember(A.global_id),
    ]
    for ask in asked:
        with pytest.raises((CorruptEntryError, PeerError)):
            ask()


def test_nothing_is_no_entry(liar: tuple[Liar, Any]) -> None:
    protocol, peer = liar
    with pytest.raises(PeerError):
        peer.central.memory.remember(A.global_id).wait()
    assert peer.central.memory.remember(A.global_id, missing_ok=True).wait() is None
    assert peer.find(A.global_id) is None
    protocol.answer = [None]
    assert peer.central.memory.remember([A.global_id], missing_ok=True).wait() == [None]


def test_what_was_asked_for_is_taken(liar: tuple[Liar, Any]) -> None:
    protocol, peer = liar
    protocol.answer = OTHER
    assert peer.central.memory.remember(B.global_id).result.data == [2]
    variable = laila.variable([1], nickname="name")
    stem = variable.global_id.rpartition("-")[0]
    protocol.answer = encode([3], key=f"{stem}-7", nickname="name")
    for found in (peer.central.memory.remember(stem), peer.central.memory.remember(nickname="name")):
        assert found.result.data == [3]
    with pytest.raises(CorruptEntryError):  # another evolution than the one that was asked for
        peer.central.memory.remember(f"{stem}-6").wait()


@pytest.mark.parametrize("lie", [7, [7], "x", {}, [None, None], "LAILA:ENTRY:GLOBAL_ID:x-" + "9" * 5000])
def test_what_is_said_of_writes_is_checked(liar: tuple[Liar, Any], lie: object) -> None:
    protocol, peer = liar
    protocol.answer = lie
    memory = peer.central.memory
    asked: list[Callable[[], object]] = [
        lambda: memory.memorize(A).wait(),
        lambda: memory.memorize([A]).wait(),
        lambda: memory.memorize(laila.variable(1)).wait(),
        lambda: memory.forget(A.global_id).wait(),
        lambda: memory.forget([A.global_id]).wait(),
    ]
    for ask in asked:
        with pytest.raises(PeerError):
            ask()


@pytest.mark.parametrize("lie", [None, 7, ["x"], [True], [-1], {"a": 1}])
def test_other_answers_are_checked(liar: tuple[Liar, Any], lie: object) -> None:
    protocol, peer = liar
    protocol.answer = lie
    with pytest.raises(PeerError):
        peer.central.memory.history(A.global_id)
    if not isinstance(lie, dict):
        with pytest.raises(PeerError):
            peer.describe()
        with pytest.raises(PeerError):
            print(peer.environment)


NAMES = ["LailaError", "PeerError", "KeyError", "OSError", "ImportError", "SystemExit", "Exception", "eval"]
NAMES += ["KeyboardInterrupt", "GeneratorExit", "BaseException", "ExceptionGroup", "PoolError"]
PARTS = [
    "characters_written",
    "errno",
    "args",
    "__class__",
    "__dict__",
    "__cause__",
    "filename",
    "key",
    "name",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_a_peer_is_one_of_a_few_kinds(name: str) -> None:
    for value in (None, "x", 10**20, ["x"] * 1000, {"a": {"b": 1}}, True):
        given = {"type": name, "message": "\x1b[2J\nsaid", "parts": dict.fromkeys(PARTS, value)}
        error = unpack_error(given)
        assert isinstance(error, Exception)
        assert not isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit))
        assert "\n" not in str(error)
        assert "\x1b" not in str(error)
        assert isinstance(error.__cause__, Exception | None)
        (again,) = unpack([{"$error": given}], [])
        assert type(again) is type(error)
    none: list[Any] = [None, [], {}, {"type": 7}, {"type": name, "message": {}, "parts": []}]
    for lie in none:
        assert isinstance(unpack_error(lie), Exception)


def test_an_error_in_an_answer_is_not_taken_for_an_entry(liar: tuple[Liar, Any]) -> None:
    protocol, peer = liar
    protocol.answer = [unpack_error({"type": "PeerError", "message": "no"})]
    with pytest.raises(LailaError, match="no"):
        peer.central.memory.remember([A.global_id]).wait()
