"""How pools are linked into a chain: ``cache << origin``, and the other ways to say it."""

from __future__ import annotations

from laila.errors import InvalidArgumentError, SettingsError
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import cast

    from laila.contract.pool import Pool
else:

    def cast(_: object, value: object) -> object:
        return value


__all__ = ["LinkMixin"]


class LinkMixin:
    """The part of a pool that knows its origin."""

    _origin: Pool | None
    _write_through: bool

    @property
    def _me(self) -> Pool:
        return cast("Pool", self)

    @property
    def proxy_to(self) -> Pool | None:
        """The origin that this pool caches, or None. Assigning links; a cycle is a ``ValueError``."""
        return self._origin

    @proxy_to.setter
    def proxy_to(self, origin: Pool | None) -> None:
        if origin is not None:
            if not isinstance(origin, LinkMixin):
                raise InvalidArgumentError(f"the origin of a pool is a pool, not {type(origin).__name__}")
            if any(tier is self for tier in origin.chain()):
                raise SettingsError(
                    f"{shown(self._me.label)} << {shown(origin.label)} would close a cycle: "
                    + " << ".join(tier.label for tier in origin.chain()),
                    option="proxy_to",
                )
        self._origin = origin

    def _set_proxy(self, cache: Pool) -> None:
        if not isinstance(cache, LinkMixin):
            raise InvalidArgumentError(f"the proxy of a pool is a pool, not {type(cache).__name__}")
        cache.proxy_to = self._me

    proxy = property(
        None, _set_proxy, doc="Write-only: ``origin.proxy = cache`` makes it a cache of ``origin``."
    )

    def __lshift__(self, other: Pool) -> Pool:
        """``cache << origin``: become a cache of the other, which is returned, so that chains read on."""
        if isinstance(other, str):
            raise InvalidArgumentError("a URL is no pool yet: open it first, laila.memory.extend(url)")
        if not isinstance(other, LinkMixin):
            return NotImplemented
        self.proxy_to = other
        return other

    def __rshift__(self, other: Pool) -> Pool:
        """``origin >> cache``: the same link said from the other side; returns the cache."""
        if isinstance(other, str):
            raise InvalidArgumentError("a URL is no pool yet: open it first, laila.memory.extend(url)")
        if not isinstance(other, LinkMixin):
            return NotImplemented
        other.proxy_to = self._me
        return other

    def chain(self) -> list[Pool]:
        """Return this pool and its origins, nearest first.

        Returns:
            The pools.
        """
        tiers = [self._me]
        while (origin := tiers[-1].proxy_to) is not None:
            tiers.append(origin)
        return tiers

    def store_tiers(self) -> list[Pool]:
        """List the tiers that this pool stores in.

        Returns:
            The whole chain where it is one store, else this pool alone.
        """
        return self.chain() if self._write_through else [self._me]

    @property
    def deciding_tier(self) -> Pool:
        """The tier that decides what is stored: the last one of a chain that is one store, else this pool."""
        return self.store_tiers()[-1]

    @property
    def write_through(self) -> bool:
        """Whether the chain that begins here is one store: see :func:`laila.tiers`. Assignable."""
        return self._write_through

    @write_through.setter
    def write_through(self, through: bool) -> None:
        self._write_through = bool(through)
