"""laila: one home for Python objects, wherever they live.

Wrap any object in an Entry, then ``memorize``, ``remember`` and ``forget`` it: each gives a Future. A Policy
routes entries to Pools, which can be chained as tiers, runs work on TaskForces and talks to its peers over
Protocols.

    import laila

    entry = laila.constant({"lr": 0.1}, nickname="settings")
    laila.memorize(entry).wait()
    assert laila.remember(nickname="settings").data == {"lr": 0.1}

This module is a façade: it names what the package offers and imports each part when it is first used. It
scans no plugins, starts no thread and writes no file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from os.path import exists
from pkgutil import extend_path

# Plugins install their parts into laila.pool, laila.comm and laila.taskforce from distributions of their own.
try:
    __path__ = extend_path(__path__, __name__)
except FileNotFoundError:
    # The current folder was deleted, and sys.path has it as "".
    _every = sys.path
    sys.path = [_folder for _folder in _every if _folder]
    try:
        __path__ = extend_path(__path__, __name__)
    finally:
        sys.path = _every
for _folder in __path__[1:]:
    # A sibling's folder has no __init__.py. The older package of this name has one, and has no contract.
    if exists(f"{_folder}/__init__.py") and not exists(f"{_folder}/contract"):
        raise ImportError(
            f"{_folder} holds an older, different package 'laila' (laila-core 1.x); {__path__[0]} holds this "
            "one. They cannot be used together: uninstall the older one where it is installed (pip uninstall "
            "laila-core), or take its folder off PYTHONPATH",
            name=__name__,
            path=_folder,
        )

# Where each name lives, and what it is called there where that differs.
_HOMES = {
    "ArgReader": "laila.arguments",
    "Arguments": "laila.arguments",
    "Blob": "laila.blob.blob",
    "DefaultCentralCommand": "laila.policy",
    "DefaultCentralCommunication": "laila.policy",
    "DefaultCentralMemory": "laila.policy",
    "DefaultPolicy": "laila.policy",
    "DefaultPool": ("laila.contract.pool", "Pool"),
    "DefaultPoolRouter": "laila.policy",
    "DefaultTCPIPProtocol": "laila.comm",
    "DefaultTaskForce": ("laila.taskforce", "PythonThreadPoolTaskForce"),
    "Entry": "laila.entry",
    "EntryState": "laila.entry",
    "Future": "laila.futures",
    "FutureStatus": "laila.futures",
    "GroupFuture": "laila.futures",
    "LAILA_DEFAULT_DIRECTORIES": "laila.directories",
    "LAILA_UNIVERSAL_NAMESPACE": "laila.policy.process",
    "LailaError": "laila.errors",
    "Manifest": "laila.entry",
    "MemoryPool": "laila.pool.memory",
    "Pool": "laila.contract.pool",
    "PythonThreadPoolTaskForce": "laila.taskforce",
    "RemoteFuture": "laila.futures",
    "RemotePolicyProxy": "laila.policy",
    "Transformation": "laila.transform",
    "TransformationSequence": "laila.transform",
    "__version__": "laila.policy.process",
    "activate_policy": "laila.active",
    "add_peer": "laila.policy.process",
    "add_tcpip_peer": "laila.policy.process",
    "arg_reader": "laila.arguments",
    "as_completed": "laila.futures",
    "compact": "laila.policy.upkeep",
    "constant": "laila.policy.verbs",
    "contingent": "laila.policy.verbs",
    "du": "laila.policy.upkeep",
    "errors": ("laila.errors", None),
    "expire": "laila.policy.upkeep",
    "export": "laila.peering.exports",
    "find": "laila.policy.stores",
    "forget": "laila.policy.verbs",
    "future": ("laila.futures", "Future"),
    "gc": "laila.policy.upkeep",
    "get_active_namespace": "laila.identity",
    "get_active_policy": "laila.active",
    "guarantee": "laila.futures",
    "guarantee_async": "laila.futures",
    "history": "laila.policy.verbs",
    "ls": "laila.policy.stores",
    "manifest": ("laila.entry", "Manifest"),
    "memorize": "laila.policy.verbs",
    "open": "laila.policy.verbs",
    "pin": "laila.policy.upkeep",
    "pins": "laila.policy.upkeep",
    "read_args": "laila.arguments",
    "register_type": "laila.codec",
    "remember": "laila.policy.verbs",
    "repair": "laila.policy.stores",
    "runtime": "laila.futures",
    "set_active_namespace": "laila.identity",
    "set_default_directory": "laila.directories",
    "status": "laila.futures",
    "terminate": "laila.policy.process",
    "tiers": "laila.policy.stores",
    "unpin": "laila.policy.upkeep",
    "variable": "laila.policy.verbs",
    "verify": "laila.policy.stores",
    "wait": "laila.futures",
    "write_array": "laila.policy.verbs",
}


def _import(name):
    """Import a module of laila's; say what is the matter where the interpreter goes down."""
    try:
        return import_module(name)
    except ImportError:
        if sys.meta_path is not None:
            raise
    errors = _errors[0] if _errors else None
    raise (RuntimeError if errors is None else errors.PolicyClosedError)(
        "the program ends, and laila with it: nothing was done. Use laila before that, or in an exit "
        "handler (atexit) of the main thread, not in a destructor of what lives as long as the program"
    ) from None


_errors = []  # the module, which an import no longer finds in the end


class _Live:
    """A name that is read anew at each use.

    Assigning to a settable name sets what it stands for. For other names the assigned value is shown
    until it is deleted. A settable name that was deleted is absent until it is assigned again, so that
    mock.patch assigns the value that it found; ``restore`` is for a name that can do that itself.
    """

    def __init__(self, read, assign=None, restore=None):
        self.read = read
        self.assign = assign
        self.restore = restore
        self.absent = False

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, module, owner):
        if self.absent:
            raise AttributeError(f"laila.{self.name} was deleted: assign it", name=self.name, obj=module)
        shown = module.__dict__
        return shown[self.name] if self.name in shown else self.read()

    def __set__(self, module, value):
        if self.assign is None:
            module.__dict__[self.name] = value
        else:
            self.assign(value)
            self.absent = False

    def __delete__(self, module):
        if self.assign is None:
            module.__dict__.pop(self.name, None)
        elif self.restore is not None:
            self.restore()
        else:
            self.absent = True


def _active():
    return _import("laila.active")


def _of_policy(path):
    def read():
        attribute = _active().get_active_policy()
        for name in filter(None, path.split(".")):
            attribute = getattr(attribute, name)
        return attribute

    return read


def _of_process(name):
    def read():
        return getattr(_import("laila.policy.process"), name)()

    return read


def _activate(policy):
    _active().activate_policy(policy)


def _set_alpha(pool):
    _import("laila.policy.stores").set_alpha_pool(pool)


def _args():
    return _import("laila.arguments").args


def _set_args(values):
    _import("laila.arguments").set_args(values)


def _set_auto(value):
    _active().AUTO_INITIALIZE_POLICY = bool(value)


class _Facade(type(sys)):
    active_policy: DefaultPolicy = _Live(_of_policy(""), _activate)
    memory: DefaultCentralMemory = _Live(_of_policy("central.memory"))
    command: DefaultCentralCommand = _Live(_of_policy("central.command"))
    communication: DefaultCentralCommunication = _Live(_of_policy("central.communication"))
    peers: Mapping[str, RemotePolicyProxy] = _Live(_of_policy("central.communication.peers"))
    alpha_pool: Pool = _Live(_of_policy("central.memory.alpha_pool"), _set_alpha)
    environment: dict[str, Any] = _Live(_of_policy("environment"))
    args = _Live(_args, _set_args, lambda: _import("laila.arguments").restore_args())
    local_policies: Mapping[str, DefaultPolicy] = _Live(_of_process("local_policies"))
    remote_policies: Mapping[str, RemotePolicyProxy] = _Live(_of_process("remote_policies"))
    universe: Mapping[str, Any] = _Live(_of_process("universe"))
    AUTO_INITIALIZE_POLICY: bool = _Live(lambda: _active().AUTO_INITIALIZE_POLICY, _set_auto)

    def __getattr__(self, name):
        live = vars(_Facade).get(name)
        if isinstance(live, _Live):  # it failed with an AttributeError of its own: show that one
            return live.__get__(self, _Facade)
        home = _HOMES.get(name)
        if home is None:
            from laila.calling import no_name

            no_name(name, __all__)
        module, attribute = home if type(home) is tuple else (home, name)
        try:
            value = _import(module)
        except ImportError as error:
            if "partially initialized" not in str(error):
                raise
            # A signal handler or destructor interrupts the very import.
            from laila.locks import refuse_reentry

            refuse_reentry()
        if attribute is not None:
            value = getattr(value, attribute)
        self.__dict__[name] = value
        if not _errors and "laila.errors" in sys.modules:
            _errors.append(sys.modules["laila.errors"])
        return value

    def __setattr__(self, name, value):
        if name[0] != "_" and type(value) is not type(sys) and name not in self.__dict__:
            if name not in _HOMES and name not in vars(_Facade):
                from laila.calling import check_assigned

                settable = [key for key, member in vars(_Facade).items() if getattr(member, "assign", None)]
                check_assigned(name, settable)
        super().__setattr__(name, value)

    def __reduce_ex__(self, protocol):
        # As a module is to those who pickle functions: by its name.
        return import_module, (__name__,)

    def __dir__(self):
        return sorted({*self.__dict__, *__all__})


__all__ = sorted(
    [name for name in _HOMES if not name.startswith("__")]
    + [name for name, value in vars(_Facade).items() if isinstance(value, _Live)]
)
sys.modules[__name__].__class__ = _Facade
