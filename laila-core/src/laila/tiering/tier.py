"""What is in a pool, asked without reading it: whether keys are there, and what else has their name."""

from __future__ import annotations

from laila.component.authored import answers
from laila.component.backend import Backend
from laila.keys import is_evolution, may_evolve, stem_of
from laila.tiering.chain import TierMixin
from laila.tiering.single import SingleTier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from laila.blob.blob import Blob
    from laila.blob.head import BlobHead
    from laila.errors import LailaError

__all__ = ["Tier"]


class Tier(SingleTier, TierMixin):
    """The part of a pool that tells what is there. Thread-safe as its backend is.

    ``present`` and ``namesakes`` ask where a look-up looks: along the chain, or its last tier alone where the
    chain is one store.
    """

    def exist_here(self, keys: Sequence[str]) -> list[bool]:
        """Return for each of ``keys`` whether this pool alone holds it, asked as one batch.

        Args:
            keys: The keys.

        Returns:
            A bool for each key.
        """
        self._check_open()
        return list(answers(self, "_exist_many", self._exist_many(keys), len(keys), bool)) if keys else []

    def present(self, keys: Sequence[str]) -> list[bool]:
        """Return for each of ``keys`` whether it is there; without evolution, whether any evolution is.

        Raises what the last tier's backend raises.

        Args:
            keys: The keys.

        Returns:
            A bool for each key.
        """
        existing = dict(zip(keys, _exist(self, keys), strict=True))
        absent = [key for key, exists in existing.items() if not exists and may_evolve(key)]
        if absent:
            existing.update(
                (key, newest is not None) for key, newest in zip(absent, self.newest(absent), strict=True)
            )
        return [existing[key] for key in keys]

    def asked_heads(self, keys: Sequence[str]) -> Iterator[list[Blob | BlobHead | LailaError | None]]:
        """Ask for heads in each tier where a look-up looks, the last tier first.

        Args:
            keys: The keys.

        Yields:
            For each tier, and in it for each key, what tells its digest, None where the tier lacks it, or its
            damage.
        """
        nothing: list[Blob | BlobHead | LailaError | None] = [None] * len(keys)
        yield from self._asked(lambda tier: tier.heads_here(keys), nothing)

    def namesakes(self, keys: Sequence[str]) -> list[str | None]:
        """Return for each of ``keys`` the key of the other kind that shares its uuid, or None.

        For an evolution that is the constant; for a constant the newest evolution, or evolution 0 where the
        backend would have to look at every key to find the newest. Raises what the last tier's backend
        raises.

        Args:
            keys: The keys.

        Returns:
            A key or None for each of them.
        """
        namesakes: dict[str, str | None] = dict.fromkeys(keys)
        constants = [key for key in namesakes if may_evolve(key)]
        stems = {key: stem_of(key) for key in namesakes if is_evolution(key)}
        looked: dict[str, str] = dict(stems)
        if constants and any(_lists_all(tier) for tier in self.chain()):
            looked.update((key, f"{key}-0") for key in constants)
        elif constants:
            namesakes.update(zip(constants, self.newest(constants), strict=True))
        existing = _exist(self, list(looked.values()))
        namesakes.update(
            (key, other) for (key, other), exists in zip(looked.items(), existing, strict=True) if exists
        )
        return [namesakes[key] for key in keys]


def _exist(pool: Tier, keys: Sequence[str]) -> list[bool]:
    if not keys:
        return []
    nothing = [False] * len(keys)
    asked = pool._asked(lambda tier: tier.exist_here(keys), nothing)
    return [any(answers) for answers in zip(*asked, strict=True)]


def _lists_all(tier: Backend) -> bool:
    kind = type(tier)
    return kind._newest is Backend._newest and kind._evolutions is Backend._evolutions
