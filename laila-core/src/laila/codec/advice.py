"""What the owner of a class can do so that its instances need no signature: true for that very class."""

from __future__ import annotations

import sys
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)

from laila.codec import registry

__all__ = ["BY_FIELDS", "BY_VALUE", "INSTEAD", "IN_CYCLE", "PICKLED", "instead_of", "remedy"]

INSTEAD = (
    "leave it out, store plain data in its place, or give its class a codec (laila.codec.register_codec)"
)
"""Advice for any object that cannot be stored as it is."""
_OF_PROCESS = (
    "it belongs to this process: leave it out; a class that holds one says in its __getstate__ what is stored"
)
_INSTEAD: dict[str, str] = {
    "weakref.ReferenceType": "store the object that it refers to, weakref()",
    "re.Match": "store match.groups(), match.groupdict() or match.span()",
    "sqlite3.Row": "store tuple(row) or dict(row)",
    "traceback": "store traceback.format_tb(tb), or the exception without it",
    "_contextvars.ContextVar": "store its value, var.get()",
    "functools.KeyWrapper": "store the object that it wraps, key.obj",
    "_csv.reader": "store list(reader)",
    "_struct.Struct": "store its format",
    "_hashlib.HASH": "store hash.hexdigest()",
    "numpy.nditer": "store the array",
    "numpy.flatiter": "store the array, iterator.base",
    "random.SystemRandom": "it has no state; leave it out",
    "h5py._hl.dataset.Dataset": "store what it holds, dataset[()]",
    **dict.fromkeys(("h5py._hl.files.File", "h5py._hl.group.Group"), "store the path of its file"),
    "posix.DirEntry": "store entry.path or entry.stat()",
    "functools._lru_cache_wrapper": "store the function that it wraps, function.__wrapped__",
    "_queue.SimpleQueue": "store a list of what is in it",
    "sys.version_info": "store tuple(sys.version_info)",
    "sys.flags": "store tuple(sys.flags)",
    "pyarrow.lib.RecordBatchReader": "store reader.read_all()",
    "pyarrow.lib.Tensor": "store tensor.to_numpy()",
    "polars.series.series.Series": "store series.to_list()",
    "polars.dataframe.frame.DataFrame": "store frame.to_dict(as_series=False)",
    "torch.storage.UntypedStorage": "store a tensor over it",
    "PIL.ImageFont.FreeTypeFont": "store the path of its file and its size",
    **dict.fromkeys(
        ("torch.ScriptModule", "torch.jit._script.RecursiveScriptModule"),
        "store module.state_dict(), or the bytes that torch.jit.save writes into an io.BytesIO",
    ),
    "typing.NewType": "define it at the top of a module, under the name that it is given",
    **dict.fromkeys(
        (
            *("_thread.lock", "_thread.RLock", "_thread._local", "socket.socket", "ssl.SSLContext", "frame"),
            *("coroutine", "async_generator", "_contextvars.Token", "sqlite3.Connection", "sqlite3.Cursor"),
            *("select.epoll", "_asyncio.Task", "_asyncio.Future", "mmap.mmap", "zlib.Compress"),
        ),
        _OF_PROCESS,
    ),
}
"""Advice for single types that cannot be pickled."""


def instead_of(kind: type) -> str:
    """Return the advice for a ``kind`` that cannot be stored."""
    return _INSTEAD.get(registry.type_name(kind), INSTEAD)


PICKLED = "by pickle"
"""How a type is stored that only a pickle carries."""
IN_CYCLE = "by pickle, since it contains itself"
"""How an object is stored that refers to itself, or to what holds it."""
BY_FIELDS = "by its fields"
BY_VALUE = "by its value"

_CODE = (
    *(BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType),
    *(WrapperDescriptorType, type, property, staticmethod, classmethod),
)


def remedy(kind: type, how: str) -> str:
    """A sentence about ``kind``, which was stored ``how``."""
    if _is_code(kind):
        return "It is code. To store data alone, store its name, and look that up where it is needed" + (
            "; a class that is registered with laila.register_type is data" if issubclass(kind, type) else ""
        )
    if how == BY_VALUE:
        return "Give the class a member of that value"
    if how == IN_CYCLE:
        return "Rows of data cannot say that something contains itself: leave the reference back out"
    if how not in (BY_FIELDS, PICKLED):
        return "Declare the attribute in the class, or leave it out"
    if kind in registry.ENCODERS:
        return "Others of its class are data, but not one that holds this much: store what it is made of"
    from laila.codec.objects import is_registrable

    if not is_registrable(kind):
        return "laila.codec.register_codec says how to store it as data"
    if "<locals>" in kind.__qualname__:
        return (
            "The class is defined in a function, where no other process will find it: move it to the top "
            "of a "
            "module, and register it there with laila.register_type"
        )
    other = registry.known_type(registry.class_path(kind))
    if other is not None and other is not kind:
        return (
            "Another class was registered under its name: put @laila.register_type above its other "
            "decorators, "
            "or register it again where it is defined anew"
        )
    if kind.__module__ == "__main__":
        return (
            "The class is defined in __main__, where no other process will find it: move it into a module, "
            "and "
            "register it there with laila.register_type"
        )
    if how == PICKLED:
        return (
            f"It cannot be found as {kind.__qualname__} in the module {kind.__module__}: give it the name "
            f"that it "
            "has there, and register it with laila.register_type"
        )
    return "laila.register_type makes the class readable without a signature"


def _is_code(kind: type) -> bool:
    functools = sys.modules.get("functools")
    partial = (functools.partial, functools.partialmethod) if functools is not None else ()
    return issubclass(kind, (*_CODE, *partial))
