"""Every name of the reference exists, with its parameters: what code written for it relies on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import laila

# Class -> method -> parameter names, in order ("*" begins the keyword-only ones). None: a property.
REFERENCE: dict[str, dict[str, str | None]] = {
    "ArgReader": {
        "__init__": "target",
        "clear": "",
        "from_json": "path",
        "from_toml": "path",
        "from_env": "path",
        "from_xml": "path",
        "from_terminal": "args",
        "load": "source * terminal_args",
    },
    "DefaultCentralCommand": {
        "add_taskforce": "taskforce",
        "submit": "tasks wait * taskforce_id",
        "shutdown": "wait cancel_pending",
    },
    "DefaultCentralCommunication": {
        "add_connection": "protocol",
        "remove_connection": "protocol",
        "start": "",
        "stop": "",
        "add_peer": "uri secret",
        "add_tcpip_peer": "host port secret",
    },
    "DefaultCentralMemory": {
        "extend": "pool * affinity pool_nickname",
        "borrow": "keys global_borrow",
        "memorize": "entries * pool_id pool_nickname affinity",
        "remember": "entry_ids * pool_id pool_nickname affinity",
        "forget": "entry_ids * pool_id pool_nickname affinity",
    },
    "DefaultPolicy": {
        "Central": None,
        "extend": "new_pool",
        "remember": "global_id * global_fetch pool_subset hint",
        "memorize": "entries * require_local_update require_global_update",
    },
    "DefaultPool": {
        "pool_id": None,
        "proxy": None,
        "proxy_to": None,
        "__lshift__": "other",
        "__rshift__": "other",
        "__getitem__": "key",
        "__setitem__": "key entry",
        "__delitem__": "key",
        "empty": "",
        "exists": "key",
        "__contains__": "key",
        "keys": "as_generator",
        "sync": "",
        "__le__": "other",
    },
    "DefaultPoolRouter": {
        "extend": "pool * affinity pool_nickname",
        "route": "entries * pool_id pool_nickname affinity",
    },
    "DefaultTCPIPProtocol": {
        "__init__": "host port peer_secret_key",
        "bound_port": None,
        "start": "node",
        "stop": "",
        "add_peer": "uri secret",
        "send_rpc": "peer_id path args kwargs",
    },
    "DefaultTaskForce": {
        "imap": "tasks",
        "submit": "tasks wait",
        "start": "",
        "pause": "",
        "shutdown": "wait cancel_pending",
        "queue_len": None,
        "__len__": "",
    },
    "PythonThreadPoolTaskForce": {"imap": "tasks", "submit": "tasks wait"},
    "Entry": {
        "data": None,
        "state": None,
        "metadata": None,
        "notify_policy": "",
        "variable": "data * uuid evolution state constitution global_id nickname",
        "evolve": "precedence constitution data",
        "constant": "data * global_id uuid nickname",
        "contingent": "**kwargs",
        "serialize": "transformations * exclude_private",
        "recover": "in_dict notify_on_creation",
        "__str__": "",
    },
    "Future": {
        "status": None,
        "result": None,
        "data": None,
        "exception": None,
        "future_identity": None,
        "add_callback": "status fn",
        "remove_callback": "status fn",
        "clear_callbacks": "status",
        "clear_all_callbacks": "",
        "trigger_callback": "status",
        "wait": "timeout",
        "finished": "",
        "cancelled": "",
        "error": "",
        "not_started": "",
    },
    "Manifest": {
        "blueprint": None,
        "resolved": None,
        "memorize": "* pool_nickname pool_id batch_size",
        "remember": "* pool_nickname pool_id batch_size",
        "forget": "* pool_nickname pool_id batch_size",
        "serialize": "transformations * exclude_private",
        "recover": "in_dict notify_on_creation",
        "keys": "",
        "values": "",
        "items": "",
        "sub_manifest": "keys",
        "extend": "other * overwrite",
        "__iadd__": "other",
        "__add__": "other",
        "__getitem__": "key",
        "__len__": "",
        "__iter__": "",
        "__contains__": "global_id",
    },
}

FUNCTIONS = {
    "activate_policy": "policy",
    "add_peer": "uri secret",
    "constant": "data * global_id uuid nickname",
    "contingent": "**kwargs",
    "forget": "entry_ids",
    "get_active_namespace": "",
    "get_active_policy": "",
    "memorize": "entries",
    "read_args": "source * terminal_args",
    "remember": "entry_ids",
    "set_active_namespace": "namespace_key",
    "set_default_directory": "directory",
    "status": "future_ref",
    "variable": "data * uuid evolution state constitution global_id nickname",
    "wait": "future_ref timeout",
}

METHODS = [
    (cls, name, parameters) for cls, methods in REFERENCE.items() for name, parameters in methods.items()
]


def check_parameters(function: Any, expected: str) -> None:
    """The expected parameters are there, by name and kind; more may follow where they are optional."""
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name != "self"}
    keyword_only = False
    for name in expected.split():
        if name == "*":
            keyword_only = True
        elif name.startswith("**"):
            assert any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        else:
            kind = parameters[name].kind
            assert kind is inspect.Parameter.KEYWORD_ONLY if keyword_only else kind in (1, 0), (
                f"{name}: {kind}"
            )
    for name, parameter in parameters.items():
        if name not in expected.split() and not name.startswith("_"):
            variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            assert variadic or parameter.default is not parameter.empty, (
                f"{name} is required but not in the reference"
            )


@pytest.mark.parametrize(("cls", "name", "parameters"), METHODS, ids=[f"{c}.{n}" for c, n, _ in METHODS])
def test_methods_of_the_reference(cls: str, name: str, parameters: str | None) -> None:
    found = inspect.getattr_static(getattr(laila, cls), name, None)
    if found is None:
        found = getattr(getattr(laila, cls), name)
    if parameters is None:
        assert isinstance(found, property) or inspect.isclass(found)
    else:
        check_parameters(getattr(getattr(laila, cls), name), parameters)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_of_the_reference(name: str) -> None:
    check_parameters(getattr(laila, name), FUNCTIONS[name])


def test_objects_of_the_reference() -> None:
    assert laila.AUTO_INITIALIZE_POLICY is True
    assert set(laila.LAILA_DEFAULT_DIRECTORIES) == {"root", "pools", "logs", "secrets"}
    assert str(laila.LAILA_UNIVERSAL_NAMESPACE) == "6c8dcd4c-d490-58bc-81a7-6afbe8d17594"
    assert laila.future is laila.Future
    assert laila.manifest is laila.Manifest
    assert laila.DefaultPool is laila.Pool
    assert laila.DefaultTaskForce is laila.PythonThreadPoolTaskForce
    for name in ("guarantee", "guarantee_async", "arg_reader", "args", "runtime"):
        assert getattr(laila, name) is not None
    for name in ("status", "result", "exception", "wait"):
        assert callable(getattr(laila.runtime, name))


def test_what_reads_the_active_policy() -> None:
    policy = laila.active_policy
    assert laila.get_active_policy() is policy
    assert laila.memory is policy.central.memory
    assert laila.command is policy.central.command
    assert laila.communication is policy.central.communication
    assert laila.alpha_pool is policy.central.memory.alpha_pool
    assert laila.peers == {}
    assert laila.local_policies[policy.global_id] is policy
    assert laila.remote_policies == {}
    assert policy.global_id in laila.universe
    assert isinstance(laila.environment, dict)


def test_a_typo_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="memorise"):
        laila.memorise  # type: ignore[attr-defined]  # noqa: B018  # the access is the test
