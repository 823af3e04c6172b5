"""What laila advises for a type that it had to sign is true for that type: followed, it signs it no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from field.corpus import LIBRARIES
from laila.codec import register_codec, register_type, registry
from laila.codec.advice import IN_CYCLE, remedy
from laila.codec.encoder import Encoder
from laila.errors import LailaError

pytestmark = [
    pytest.mark.field,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the libraries' own
]
TABLES = ("_names", "_types", "_changes", "_codecs_by_type", "_codecs_by_name")


@pytest.fixture(autouse=True)
def registrations() -> Iterator[None]:
    """Forget afterwards what a test has registered."""
    before = [dict(getattr(registry, name)) for name in TABLES]
    yield
    for name, held in zip(TABLES, before, strict=True):
        getattr(registry, name).clear()
        getattr(registry, name).update(held)


def signed_in(value: object) -> dict[type, str]:
    """The types in ``value`` that need a signature, and how each is stored."""
    encoder = Encoder(pickle=True, copy=True, keep=True)
    encoder.run(value)
    return encoder.signed_types


def follow(kind: type, advice: str) -> bool:
    """Do what the advice says; whether it says something that a program can do for a type."""
    if "laila.register_type makes" in advice:
        register_type(kind)
    elif "laila.codec.register_codec says" in advice:
        register_codec(kind, name=f"test.{len(registry._codecs_by_name)}", encode=id, decode=str)
    else:
        return False
    return True


@pytest.mark.parametrize("library", LIBRARIES)
def test_advice_can_be_followed(library: str) -> None:
    wrong: dict[str, Any] = {}
    for name, value in LIBRARIES[library]().items():
        try:
            signed = dict(signed_in(value))
        except LailaError:
            continue  # refused, for a reason that it says
        for kind, how in signed.items():
            advice = remedy(kind, how)
            try:
                # What refers to itself is told next, since rows cannot say that of any class.
                if follow(kind, advice) and signed_in(value).get(kind) not in (None, IN_CYCLE):
                    wrong[f"{name}: {kind}"] = advice
            except (LailaError, TypeError, ValueError) as error:
                wrong[f"{name}: {kind}"] = f"{advice} ({error})"
    assert wrong == {}
