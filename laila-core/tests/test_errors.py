"""Every error: its place in the tree, the built-in behind it, its parts, and that it pickles."""

from __future__ import annotations

import builtins
import copy
import pickle
import re

import pytest

from laila import errors
from laila.errors import LailaError

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "LailaError"]
BUILTINS = {name for name in dir(builtins) if isinstance(getattr(builtins, name), type)}


def tree_in_the_docstring() -> dict[str, tuple[str, set[str]]]:
    """Name -> parent and the built-ins in parentheses, as the module's docstring draws them."""
    drawn: dict[str, tuple[str, set[str]]] = {}
    parents = {0: "LailaError"}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r" {4}((?:│   |    )*)[├└]── (\w+)(?: \(([^)]*)\))? ", line)
        if found:
            depth = len(found[1]) // 4
            drawn[found[2]] = (parents[depth], set(re.findall(r"\w+", found[3] or "")))
            parents[depth + 1] = found[2]
    return drawn


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    actual = {
        cls.__name__: (
            next(base.__name__ for base in cls.__bases__ if issubclass(base, LailaError)),
            {base.__name__ for base in cls.__bases__ if base.__name__ in BUILTINS},
        )
        for cls in CLASSES
    }
    assert tree_in_the_docstring() == actual


def test_all_is_complete() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_is_a_laila_error_and_a_builtin_one(cls: type[LailaError]) -> None:
    assert issubclass(cls, LailaError)
    outside = [
        base for base in cls.__mro__ if base.__module__ == "builtins" and base not in LailaError.__mro__
    ]
    assert outside, "a caller who knows nothing of laila could not catch it"
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_pickles_with_its_parts(cls: type[LailaError]) -> None:
    parts: dict[str, object] = {"key": "k", "name": "n", "path": "$.a", "list": [1, "ü"]}
    if issubclass(cls, OSError):
        parts["errno"] = 28
    error = cls("no such “thing”, do this", **parts)
    error.__cause__ = ValueError("why")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls
        assert str(again) == "no such “thing”, do this"
        assert again.args == error.args
        for name, value in parts.items():
            assert getattr(again, name) == value
    assert pickle.loads(pickle.dumps(cls("plain"))).args == ("plain",)


def test_a_message_is_shown_as_it_is() -> None:
    # KeyError shows the repr of its argument, OSError what its arguments may mean.
    assert str(errors.EntryNotFoundError("it's gone", key="k")) == "it's gone"
    assert str(errors.PoolError("disk full", errno=28)) == "disk full"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        ("EntryNotFoundError", KeyError),
        ("PoolNotFoundError", KeyError),
        ("PeerNotFoundError", KeyError),
        ("ImmutableEntryError", RuntimeError),
        ("EvolutionConflictError", RuntimeError),
        ("IdentityError", ValueError),
        ("FutureTimeoutError", TimeoutError),
        ("PeerError", ConnectionError),
        ("MissingPluginError", ImportError),
        ("NotSupportedError", NotImplementedError),
        ("PayloadError", TypeError),
        ("PayloadCycleError", ValueError),
        ("CorruptEntryError", ValueError),
    ],
)
def test_the_builtin_that_a_caller_would_catch(cls: str, builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise getattr(errors, cls)("x")
