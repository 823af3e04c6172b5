"""The hooks: a plugin registers codecs and transformations with them, and observes laila's work.

A module named in the entry-point group ``laila.plugins`` implements any of them with ``@hookimpl``, taking
all or some of the arguments by name. Hooks register and observe; they return nothing, and data never passes
through them. An implementation that raises is logged and hurts nobody. A slow implementation slows down the
work that it observes, because it runs in the same thread.

Importing this module imports pluggy; nothing in the core does so until a plugin asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any
    from typing import Protocol as TypingProtocol

    from laila.contract.pool import Pool
    from laila.entry import Entry
    from laila.futures import Future
    from laila.identity import Identifiable
    from laila.transform import Transformation

    class CodecRegistry(TypingProtocol):
        """Where payload types are made known: :mod:`laila.codec.registry`."""

        register_type: Callable[..., type]
        register_codec: Callable[..., object]

    class TransformationRegistry(TypingProtocol):
        """Where transformations are made known by their names: :mod:`laila.transform`."""

        register_transformation: Callable[[type[Transformation]], object]


__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "laila"
"""The name that ties specifications, implementations and the hook manager together."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a specification; only this module has any."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks an implementation in a plugin: ``@hookimpl`` on a function named like the hook."""


# -- register: called once, when the plugin is loaded ----------------------------------------------------


@hookspec
def laila_register_codecs(registry: CodecRegistry) -> None:
    """Make payload types known: ``registry.register_type(cls)``, ``registry.register_codec(…)``."""


@hookspec
def laila_register_transformations(registry: TransformationRegistry) -> None:
    """Make transformations known: ``registry.register_transformation(cls)``."""


# -- the life of a policy --------------------------------------------------------------------------------


@hookspec
def laila_policy_initialized(policy: Identifiable) -> None:
    """A policy is ready for use: its pools, task forces and protocols are there."""


@hookspec
def laila_policy_closing(policy: Identifiable) -> None:
    """A policy is about to close; everything in it still works."""


# -- the verbs: once per call, however many entries it is about ------------------------------------------


@hookspec
def laila_before_memorize(policy: Identifiable, pool: Pool, keys: Sequence[str]) -> None:
    """``memorize`` was called: ``keys`` are about to be written to ``pool``. Runs in the caller."""


@hookspec
def laila_after_memorize(
    policy: Identifiable, pool: Pool, keys: Sequence[str], error: BaseException | None, seconds: float
) -> None:
    """The call is settled: all of ``keys`` are stored, or ``error`` is the first of its errors."""


@hookspec
def laila_before_remember(policy: Identifiable, pool: Pool, keys: Sequence[str]) -> None:
    """``remember`` was called: ``keys`` are about to be read from ``pool``. Runs in the caller."""


@hookspec
def laila_after_remember(
    policy: Identifiable, pool: Pool, keys: Sequence[str], error: BaseException | None, seconds: float
) -> None:
    """The call is settled: all of ``keys`` are read, or ``error`` is the first of its errors."""


@hookspec
def laila_before_forget(policy: Identifiable, pool: Pool, keys: Sequence[str]) -> None:
    """``forget`` was called: ``keys`` are about to be deleted in ``pool``. Runs in the caller."""


@hookspec
def laila_after_forget(
    policy: Identifiable, pool: Pool, keys: Sequence[str], error: BaseException | None, seconds: float
) -> None:
    """The call is settled: all of ``keys`` are deleted, or ``error`` is the first of its errors."""


# -- the rest --------------------------------------------------------------------------------------------


@hookspec
def laila_future_settled(future: Future[Any]) -> None:
    """A future has its outcome. Called in the thread that settled it, not for work done in its caller."""


@hookspec
def laila_entry_created(policy: Identifiable, entry: Entry) -> None:
    """An entry was announced, by ``notify_policy()`` or ``notify_on_creation=True``. Nothing is stored."""


@hookspec
def laila_peer_joined(policy: Identifiable, peer: str) -> None:
    """A peer, named by its global id, is connected and authenticated."""


@hookspec
def laila_peer_left(policy: Identifiable, peer: str, error: BaseException | None) -> None:
    """A peer is gone: ``error`` says why, and is ``None`` where the connection was closed on purpose."""
