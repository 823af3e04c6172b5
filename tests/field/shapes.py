"""Classes of a user's own, importable in every process."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

import attrs
import msgspec
import pydantic


class Config(pydantic.BaseModel):  # type: ignore[misc]  # not installed where mypy runs
    name: str
    rate: float = 0.1


class Nested(pydantic.BaseModel):  # type: ignore[misc]  # not installed where mypy runs
    configs: list[Config]
    tags: set[str]


class Message(msgspec.Struct):  # type: ignore[misc]  # not installed where mypy runs
    number: int
    text: str


@attrs.define(slots=False)
class Point:
    x: int
    y: list[int]


@attrs.define
class Slotted:
    x: int
    y: int


@attrs.frozen
class Frozen:
    x: int


@dataclasses.dataclass
class Box:
    number: int
    items: list[str]


@dataclasses.dataclass
class Derived(Box):
    weight: float = 0.0


@dataclasses.dataclass(slots=True)
class SlottedBox:
    a: int
    b: int


@dataclasses.dataclass(frozen=True)
class FrozenBox:
    a: int


class Pair(NamedTuple):
    number: int
    text: str


class Colour(enum.Flag):
    RED = 1
    BLUE = 2


class Plain:
    def __init__(self, a: int) -> None:
        self.a = a
