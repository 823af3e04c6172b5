"""Futures by id: the bank, identities, and laila.wait / status / runtime."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import weakref

import pytest

from laila.entry import Entry
from laila.errors import FutureNotFoundError, IdentityError
from laila.futures import (
    Future,
    FutureBank,
    FutureIdentity,
    FutureStatus,
    GroupFuture,
    future_bank,
    runtime,
    status,
    wait,
)
from laila.identity import make_global_id, new_uuid

pytestmark = pytest.mark.usefixtures("no_policy")


def unknown_id() -> str:
    return make_global_id(("FUTURE",), new_uuid())


def test_only_futures_that_were_asked_for_their_id_are_known() -> None:
    before = len(future_bank)
    futures = [Future.completed(n) for n in range(100)]
    assert len(future_bank) == before
    assert futures[3].global_id in future_bank
    assert len(future_bank) == before + 1
    assert future_bank[futures[3].global_id] is futures[3]
    assert futures[3] in future_bank
    assert futures[4] not in future_bank


def test_an_id_is_like_any_other() -> None:
    future: Future[int] = Future()
    assert future.global_id == str(future) == f"LAILA:FUTURE:GLOBAL_ID:{future.uuid}"
    assert future.scopes == ["FUTURE"]
    assert future.evolution is None
    assert future.nickname is None
    assert future == future.future_identity
    assert hash(future) == hash(future.future_identity)
    assert future != Future()


def test_everything_takes_every_kind_of_reference() -> None:
    future = Future.completed(5)
    group = GroupFuture.completed([1, 2])
    for ref in (future, future.future_identity, future.global_id):
        assert wait(ref) == runtime.wait(ref, 0) == runtime.result(ref) == 5
        assert status(ref) == runtime.status(ref) == "finished"
        assert runtime.exception(ref) is None
    for group_ref in (group, group.future_identity, group.global_id):
        assert wait(group_ref) == [1, 2]
        assert status(group_ref) == group.status
    assert wait(next(iter(group))) == 1
    pending: Future[int] = Future()
    with pytest.raises(TimeoutError):
        wait(pending.global_id, timeout=0)


def test_what_is_not_known() -> None:
    ref = unknown_id()
    for ask in (wait, runtime.result, runtime.exception, runtime.wait):
        with pytest.raises(FutureNotFoundError, match="settled long ago") as caught:
            ask(ref)
        assert isinstance(caught.value, KeyError)
        assert ref in str(caught.value)
    assert status(ref) is FutureStatus.UNKNOWN
    with pytest.raises(IdentityError, match="nonsense"):
        wait("nonsense")
    with pytest.raises(TypeError, match="int"):
        wait(3)  # type: ignore[arg-type]


def test_a_pending_future_is_kept_by_its_id() -> None:
    future: Future[int] = Future()
    ref = future.global_id
    gone = weakref.ref(future)
    del future
    gc.collect()
    kept = gone()
    assert kept is not None
    kept.result = 1
    del kept
    assert wait(ref) == 1


def test_the_bank_keeps_the_last_settled_futures() -> None:
    refs = [Future.completed(n).global_id for n in range(3000)]
    gc.collect()
    assert len(future_bank._settled) <= 1024
    assert wait(refs[-1]) == 2999
    assert wait(refs[-1024]) == 3000 - 1024
    with pytest.raises(FutureNotFoundError):
        wait(refs[0])


def test_what_somebody_keeps_is_found_however_old() -> None:
    kept = Future.completed("kept")
    by_identity = Future.completed("identity").future_identity
    ref = kept.global_id
    for n in range(2000):
        _ = Future.completed(n).global_id
    gc.collect()
    assert wait(ref) == "kept"
    assert wait(by_identity.global_id) == "identity"


def test_the_bank_is_bounded_in_bytes() -> None:
    bank = FutureBank(limit=1000, max_bytes=10_000_000)
    for n in range(100):
        future = Future.completed({"data": [bytes(1_000_000)], "n": n})
        bank.add(future)
    assert 1 <= len(bank) <= 10
    bank.add(Future.completed(bytes(20_000_000)))
    assert len(bank) == 0, "what is larger than the whole bank is not kept"
    entry = Entry.constant(bytes(9_000_000))
    bank.add(Future.completed(entry))
    bank.add(GroupFuture.completed([bytes(2_000_000)] * 2))
    assert len(bank) == 1, "entries and groups count with what they hold"


def test_pending_groups_are_kept_and_settle_in_the_bank() -> None:
    bank = FutureBank(limit=2)
    children: list[Future[int]] = [Future(), Future()]
    group = GroupFuture.of(children)
    bank.add(group)
    assert len(bank._pending) == 1
    children[0].result = 0
    assert len(bank._pending) == 1
    children[1].result = 1
    assert len(bank._pending) == 0
    assert len(bank._settled) == 1


def test_an_identity_is_small_and_travels() -> None:
    future: Future[bytes] = Future()
    identity = future.future_identity
    future.result = bytes(1_000_000)
    travelled = pickle.dumps(identity)
    assert len(travelled) < 200
    back = pickle.loads(travelled)
    assert isinstance(back, FutureIdentity)
    assert back == identity
    assert back.future is future

    gone = weakref.ref(future)
    del future, back
    for n in range(1100):
        _ = Future.completed(n).global_id
    gc.collect()
    assert gone() is not None, "its identity keeps it"
    del identity


def test_an_identity_in_another_process_is_a_name() -> None:
    identity = Future.completed(1).future_identity
    code = """
import pickle, sys
identity = pickle.loads(sys.stdin.buffer.read())
print(identity.global_id)
from laila.errors import FutureNotFoundError
try:
    identity.future
except FutureNotFoundError as error:
    print("another process" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(identity),
        capture_output=True,
        timeout=200,
        check=True,
    )
    assert done.stdout.decode().split() == [identity.global_id, "True"]


def test_ids_asked_for_while_futures_settle() -> None:
    """Whoever wins, in the end no settled future is held as a pending one."""
    rounds = 300
    futures: list[Future[int]] = [Future() for _ in range(rounds)]
    ids: list[set[str]] = [set() for _ in range(rounds)]
    barrier = threading.Barrier(3)

    def ask() -> None:
        for number, future in enumerate(futures):
            barrier.wait(150)
            ids[number].add(future.global_id)

    def settle() -> None:
        for future in futures:
            barrier.wait(150)
            future.result = 1

    threads = [threading.Thread(target=target) for target in (ask, ask, settle)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(len(one) == 1 for one in ids)
    assert not {future.uuid for future in futures} & set(future_bank._pending)
