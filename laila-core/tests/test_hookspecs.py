"""The hooks are documented with their exact arguments, and told what their page says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from laila.contract import hookspecs

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "hooks.md").read_text("utf-8")
HOOKS = {name: value for name, value in vars(hookspecs).items() if name.startswith("laila_")}
SIGNATURES = {
    name: f"{name}({', '.join(inspect.signature(hook).parameters)})" for name, hook in HOOKS.items()
}


def test_there_is_every_hook_of_the_design() -> None:
    verbs = {
        f"laila_{when}_{verb}" for when in ("before", "after") for verb in ("memorize", "remember", "forget")
    }
    rest = {
        "laila_register_codecs", "laila_register_transformations", "laila_policy_initialized",
        "laila_policy_closing", "laila_future_settled", "laila_entry_created", "laila_peer_joined",
        "laila_peer_left",
    }  # fmt: skip
    assert set(HOOKS) == verbs | rest


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_each_hook_is_documented_with_its_exact_arguments(name: str) -> None:
    assert f"### `{SIGNATURES[name]}`" in PAGE
    section = PAGE.partition(f"### `{SIGNATURES[name]}`")[2].partition("\n### ")[0].partition("\n## ")[0]
    for argument in inspect.signature(HOOKS[name]).parameters:
        assert f"`{argument}`" in section, f"{name}: the page does not say what {argument} is"
    assert HOOKS[name].__doc__


def test_the_page_documents_no_hook_that_is_not_there() -> None:
    assert set(re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)) == set(SIGNATURES.values())


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_each_hook_passes_on_what_it_is_told(name: str) -> None:
    from laila.plugins import call_hook, hooks, listeners

    told: list[tuple[object, ...]] = []
    arguments = list(inspect.signature(HOOKS[name]).parameters)

    class Observer:
        pass

    # An implementation with exactly the hook's arguments, as an author would write it.
    namespace: dict[str, object] = {"told": told}
    exec(f"def {name}(self, {', '.join(arguments)}):\n    told.append(({', '.join(arguments)},))", namespace)
    implementation = namespace[name]
    assert callable(implementation)
    setattr(Observer, name, hookspecs.hookimpl(implementation))
    observer = Observer()
    assert not listeners(name)
    hooks().register(observer, f"observer of {name}")
    try:
        told.clear()  # registering hooks were just called with the real registry
        assert listeners(name)
        values = {argument: object() for argument in arguments}
        call_hook(name, **values)
        assert told == [tuple(values.values())]
    finally:
        hooks().unregister(observer)
    assert not listeners(name)
    call_hook(name, **dict.fromkeys(arguments))
    assert len(told) == 1
