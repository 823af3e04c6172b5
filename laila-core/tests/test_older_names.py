"""Names and options of the older package: what still works, and errors that say what takes their place."""

from __future__ import annotations

import pytest

import laila
from laila.contract import Pool
from laila.errors import MissingPluginError, NotSupportedError, SettingsError, UnknownOptionError
from laila.policy import DefaultCentralCommunication


class PlainPool(laila.MemoryPool):
    """A pool whose constructor has options of its own, and no settings."""

    def __init__(self, path: str = "", workers: int = 1) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("given", "meant"),
    [("file_path", "path"), ("image_dir", "path"), ("num_workers", "workers"), ("pahts", "path")],
)
def test_an_unknown_option_names_the_one_that_is_meant(given: str, meant: str) -> None:
    with pytest.raises(
        UnknownOptionError, match=f"PlainPool has no option '{given}'; did you mean '{meant}'"
    ) as caught:
        PlainPool(**{given: "x"})  # type: ignore[arg-type]
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, SettingsError)
    assert "(options: path, workers)" in str(caught.value)


def test_the_options_of_a_policy_are_listed_too() -> None:
    with pytest.raises(TypeError, match="did you mean 'taskforce'"):
        laila.DefaultPolicy(taskforces=())  # type: ignore[call-arg]


def test_a_constructor_that_takes_any_keyword_is_asked_itself() -> None:
    class Any(laila.MemoryPool):
        def __init__(self, **options: object) -> None:
            super().__init__()
            self.given = options

    assert Any(anything=1).given == {"anything": 1}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("request", r"laila\.add_peer"),
        ("DotMap", r"laila\.args"),
        ("DefaultGRPCProtocol", "DefaultTCPIPProtocol"),
        ("AzurePool", "S3Pool"),
        ("PythonProcessPoolTaskForce", "ProcessTaskForce"),
    ],
)
def test_a_name_that_laila_itself_had_says_what_serves_instead(name: str, advice: str) -> None:
    with pytest.raises(AttributeError, match=advice):
        getattr(laila, name)


def test_a_task_force_that_was_renamed_says_its_name() -> None:
    import laila.taskforce

    with pytest.raises(MissingPluginError, match="its name is ProcessTaskForce"):
        laila.taskforce.__getattr__("PythonProcessPoolTaskForce")


@pytest.mark.parametrize(
    ("name", "advice"), [("HDF5Pool", r"laila\.pool import HDF5Pool"), ("MongoPool", "S3Pool")]
)
def test_the_former_place_of_the_pools_says_where_they_are(name: str, advice: str) -> None:
    with pytest.raises(ImportError, match=advice):
        exec(f"from laila.data import {name}")


@pytest.mark.parametrize("end", ["", "@evolution=3"])
def test_an_id_of_the_older_form_is_told_apart(end: str) -> None:
    with pytest.raises(
        ValueError, match=r"laila-core 1\.x wrote ids in that form; expected 'LAILA:<SCOPE>:GLOBAL_ID"
    ):
        laila.remember(f"LAILA:ENTRY:dd448e9c-a465-57c2-b3af-c783b86a4a06{end}").wait()


@pytest.mark.parametrize("name", ["CloudflarePool", "BackblazePool", "GCSPool", "AzurePool", "MongoPool"])
def test_a_pool_of_the_older_package_says_what_serves_instead(name: str) -> None:
    import laila.pool

    with pytest.raises(MissingPluginError, match="S3Pool"):
        getattr(laila.pool, name)


def test_the_router_has_its_older_names() -> None:
    with laila.DefaultPolicy() as policy:
        memory = policy.central.memory
        with pytest.warns(DeprecationWarning, match=r"memory\.router"):
            assert memory.pool_router is memory.router
        with pytest.warns(DeprecationWarning, match=r"router\.nicknames"):
            assert memory.router.pools_nicknames == memory.router.nicknames


def test_a_communication_may_stand_alone() -> None:
    alone = DefaultCentralCommunication(policy_id=None)
    assert alone.policy_id == alone.global_id
    assert dict(alone.peers) == {}
    with pytest.raises(NotSupportedError):
        _ = alone.policy
    alone.start()
    alone.close()


@pytest.mark.parametrize("form", ["nickname", "id", "pool", "list", "dict of ids", "dict of pools"])
def test_pool_subset_restricts_the_search_and_takes_every_form(form: str) -> None:
    with laila.DefaultPolicy() as policy:
        pool: Pool = policy.extend(laila.MemoryPool(nickname="there"))
        here, there = laila.constant(1, nickname="here"), laila.constant(2, nickname="there")
        policy.memorize(here).wait()
        policy.central.memory.memorize(there, pool_nickname="there").wait()
        subset = {
            "nickname": "there",
            "id": pool.global_id,
            "pool": pool,
            "list": [pool],
            "dict of ids": {pool.global_id: None},
            "dict of pools": {"any": pool},
        }[form]
        found = policy.remember(there.global_id, pool_subset=subset)  # type: ignore[arg-type]
        assert found is not None
        assert found.data == 2
        for everywhere in (False, True):  # it is in the alpha pool, which the subset leaves out
            assert (
                policy.remember(here.global_id, pool_subset=subset, global_fetch=everywhere)  # type: ignore[arg-type]
                is None
            )
        assert (
            policy.remember(here.global_id, pool_subset=(), hint=policy.central.memory.alpha_pool) is not None
        )
        with pytest.raises(TypeError, match="pool_subset takes"):
            policy.remember(here.global_id, pool_subset=[3])  # type: ignore[list-item]


def test_a_name_with_an_underscore_is_left_out_of_the_dict() -> None:
    entry = laila.constant(1, nickname="x")
    assert "nickname" not in entry.serialize(exclude_private={"_nickname"})
    assert "nickname" not in entry.serialize(exclude_private={"nickname"})
    assert "payload" in entry.serialize(exclude_private={"_payload", "_nickname"})


def test_args_takes_a_mapping() -> None:
    args = laila.args
    laila.args = {"hdf5": {"path": "x"}}  # type: ignore[assignment]
    try:
        assert laila.args is args
        assert args.hdf5.path == "x"
        with pytest.raises(TypeError, match="a mapping"):
            laila.args = 3  # type: ignore[assignment]
        with pytest.raises(TypeError):
            laila.args = {3: 4}  # type: ignore[assignment]
        assert args.hdf5_path == "x"
    finally:
        args.clear()
