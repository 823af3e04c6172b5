"""The module `laila`: what it shows, that it stays light, that its names can be set, patched and put back."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from unittest import mock

import pytest

import laila
from laila.errors import LailaError, NoActivePolicyError, PolicyClosedError

LIVE = [
    "active_policy",
    "memory",
    "command",
    "communication",
    "peers",
    "alpha_pool",
    "environment",
    "local_policies",
    "remote_policies",
    "universe",
]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_can_be_got() -> None:
    for name in laila.__all__:
        assert getattr(laila, name) is not None
    assert set(laila.__all__) <= set(dir(laila))
    assert isinstance(laila.__version__, str)


def test_every_public_name_can_be_got_first() -> None:
    # A fork a name: each is the first thing asked of a fresh laila.
    out = run(
        "import os, sys, laila\n"
        f"for name in {laila.__all__!r}:\n"
        "    if (pid := os.fork()) == 0:\n"
        "        try:\n"
        "            getattr(laila, name)\n"
        "            os._exit(0)\n"
        "        except BaseException as e:\n"
        "            sys.stdout.write(f'{name}: {e!r}\\n'); sys.stdout.flush(); os._exit(1)\n"
        "    os.waitpid(pid, 0)\n"
    )
    assert out == ""


def test_a_typo_is_an_attribute_error_that_names_it() -> None:
    for name in ("memorise", "Poool", "_private"):
        with pytest.raises(AttributeError, match=name):
            getattr(laila, name)
        assert not hasattr(laila, name)


def test_import_starts_nothing_and_is_light() -> None:
    out = run(
        "import sys; before = set(sys.modules)\n"
        "import laila, threading\n"
        "heavy = {'numpy', 'torch', 'h5py', 'cattrs', 'attrs', 'pluggy', 'logging', 'asyncio',\n"
        "         'msgpack', 'xxhash', 'importlib.metadata', 'importlib_metadata', 'uuid',\n"
        "         'concurrent.futures'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)), threading.active_count())"
    )
    assert out == "[] 1"


def test_the_first_memorize_of_a_small_dict_loads_nothing_heavy() -> None:
    out = run(
        "import sys, laila\n"
        "entry = laila.constant({'lr': 0.1})\n"
        "assert laila.remember(laila.memorize(entry).result).data == {'lr': 0.1}\n"
        "heavy = {'numpy', 'torch', 'h5py', 'cattrs', 'attrs', 'asyncio', 'concurrent.futures',\n"
        "         'cryptography', 'cloudpickle', 'dataclasses'}\n"
        "import threading; print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    assert out == "[] 1"


def test_the_active_policy_is_built_on_first_use_and_can_be_set(policy: laila.DefaultPolicy) -> None:
    assert laila.active_policy is policy
    assert laila.get_active_policy() is policy
    other = laila.DefaultPolicy()
    laila.active_policy = other
    assert laila.memory is other.central.memory
    laila.activate_policy(policy)
    assert laila.command is policy.central.command
    other.close()
    with pytest.raises(TypeError, match="policy"):
        laila.active_policy = "x"  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="closed") as caught:
        laila.active_policy = other
    assert isinstance(caught.value, PolicyClosedError)
    assert laila.active_policy is policy


def test_without_auto_initialization_there_is_no_policy() -> None:
    out = run(
        "import laila\n"
        "laila.AUTO_INITIALIZE_POLICY = False\n"
        "for get in (lambda: laila.active_policy, laila.get_active_policy, lambda: laila.memory,\n"
        "            lambda: laila.memorize(laila.constant(1))):\n"
        "    try:\n"
        "        get()\n"
        "    except laila.errors.NoActivePolicyError as e:\n"
        "        assert isinstance(e, RuntimeError); print('refused')\n"
        "laila.active_policy = laila.DefaultPolicy()\n"
        "print(laila.memorize(laila.constant(1)).result[:5])\n"
        "laila.terminate()\n"
        "try:\n"
        "    laila.memory\n"
        "except RuntimeError:\n"
        "    print('refused')\n"
        "laila.AUTO_INITIALIZE_POLICY = True\n"
        "print(type(laila.memory).__name__)"
    )
    assert out.split() == [*["refused"] * 4, "LAILA", "refused", "DefaultCentralMemory"]


@pytest.mark.parametrize("name", LIVE)
def test_live_names_can_be_patched_and_come_back(policy: laila.DefaultPolicy, name: str) -> None:
    before = getattr(laila, name)
    stand_in: object = {"active_policy": None, "alpha_pool": laila.MemoryPool()}.get(name, object())
    if name == "active_policy":
        stand_in = laila.DefaultPolicy()
    with mock.patch.object(laila, name, stand_in):
        assert getattr(laila, name) is stand_in
    after = getattr(laila, name)
    assert after is before or after == before
    assert after is not stand_in


def test_patches_nest() -> None:
    first, second = laila.DefaultPolicy(), laila.DefaultPolicy()
    before = laila.active_policy
    with mock.patch.object(laila, "active_policy", first):
        with mock.patch.object(laila, "active_policy", second):
            assert laila.active_policy is second
        assert laila.active_policy is first
    assert laila.active_policy is before
    with mock.patch.object(laila, "memory", 1):
        with mock.patch.object(laila, "memory", 2):
            assert laila.memory == 2
        assert laila.memory == 1
    assert laila.memory is before.central.memory


def test_a_deleted_name_is_absent_until_it_is_assigned() -> None:
    before = laila.active_policy
    del laila.active_policy
    assert not hasattr(laila, "active_policy")
    with pytest.raises(AttributeError, match="active_policy was deleted: assign it"):
        _ = laila.active_policy
    assert laila.get_active_policy() is before
    laila.active_policy = before
    assert laila.active_policy is before


@pytest.mark.parametrize("name", ["memorize", "remember", "Pool", "wait"])
def test_plain_names_can_be_patched_and_come_back(name: str) -> None:
    before = getattr(laila, name)
    with mock.patch.object(laila, name, 5):
        assert getattr(laila, name) == 5
    assert getattr(laila, name) is before


def test_the_contents_of_args_can_be_patched_and_come_back() -> None:
    args = laila.args
    args["x"] = 1
    try:
        with mock.patch.object(laila, "args", {"y": 2}):
            assert laila.args is args
            assert args == {"y": 2}
        assert args == {"x": 1}
    finally:
        args.clear()


def test_monkeypatch_puts_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = laila.active_policy
    with monkeypatch.context() as patch:
        patch.setattr(laila, "active_policy", laila.DefaultPolicy())
        patch.setattr(laila, "AUTO_INITIALIZE_POLICY", False)
        assert laila.active_policy is not before
        assert laila.AUTO_INITIALIZE_POLICY is False
    assert laila.active_policy is before
    assert laila.AUTO_INITIALIZE_POLICY is True


def test_a_policy_that_was_replaced_is_not_kept_alive(policy: laila.DefaultPolicy) -> None:
    other = laila.DefaultPolicy()
    laila.active_policy = other
    laila.active_policy = policy
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None


def test_an_error_inside_a_property_is_its_own() -> None:
    def fail(self: object) -> None:
        raise AttributeError("inner detail")

    with (
        mock.patch.object(laila.DefaultPolicy, "environment", property(fail)),
        pytest.raises(AttributeError, match="inner detail"),
    ):
        _ = laila.environment


def test_the_abstract_pool_builds_the_memory_pool() -> None:
    assert laila.DefaultPool is laila.Pool
    pool = laila.DefaultPool(nickname="p")  # type: ignore[abstract]
    assert type(pool) is laila.MemoryPool
    assert pool.nickname == "p"
    assert isinstance(pool, laila.Pool)


def test_star_import_brings_the_public_names() -> None:
    out = run("from laila import *\nprint(errors.__name__, memorize.__name__)")
    assert out == "laila.errors memorize"


def test_several_policies_have_memories_of_their_own(policy: laila.DefaultPolicy) -> None:
    other = laila.DefaultPolicy(nickname="other")
    gid = other.central.memory.memorize(laila.constant(1)).result
    assert {policy.global_id, other.global_id} <= set(laila.local_policies) <= set(laila.universe)
    with pytest.raises(KeyError):
        laila.remember(gid).wait()
    assert other.central.memory.remember(gid).data == 1
    other.close()
    assert other.global_id not in laila.local_policies
    with pytest.raises(LailaError):
        other.central.memory.remember(gid)


def test_closing_the_active_policy_leaves_none() -> None:
    before = laila.active_policy
    made = laila.DefaultPolicy()
    laila.active_policy = made
    made.close()
    made.close()
    assert laila.active_policy is not made
    if not before.closed:
        laila.active_policy = before


def test_no_active_policy_error_says_what_to_do() -> None:
    assert issubclass(NoActivePolicyError, RuntimeError)
    with mock.patch.object(laila, "AUTO_INITIALIZE_POLICY", False):
        from laila import active

        with mock.patch.object(active, "_policy", None), pytest.raises(RuntimeError, match="DefaultPolicy"):
            laila.get_active_policy()
