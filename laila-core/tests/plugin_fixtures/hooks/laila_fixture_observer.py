"""A well-behaved observer: it notes what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laila.contract import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

seen: list[tuple[object, ...]] = []


@hookimpl
def laila_policy_initialized() -> None:
    seen.append(("initialized",))


@hookimpl
def laila_before_memorize(keys: Sequence[str]) -> None:
    seen.append(("before", tuple(keys)))


@hookimpl
def laila_after_memorize(keys: Sequence[str], error: BaseException | None) -> None:
    seen.append(("after", tuple(keys), error))
