"""The pool router: which pools a policy has, and which of them a verb means."""

from __future__ import annotations

from laila.central.choice import ALPHA, PoolChoice
from laila.central.naming import check_affinity, check_name, subset_names
from laila.component.component import Component
from laila.contract.pool import Pool
from laila.ending import exiting
from laila.errors import (
    InvalidArgumentError,
    PolicyClosedError,
    PoolNotFoundError,
    SettingsError,
)
from laila.locks import check_may_use, mutex
from laila.showing import shown
from laila.trying import do_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import ClassVar

    from laila.central.naming import PoolSubset
    from laila.entry import Entry

__all__ = ["DefaultPoolRouter"]


_AGAIN = (
    ". For code that is run twice: laila.memory.extend(URL, pool_nickname=…) with the same URL gives back "
    "the pool that is there"
)


class DefaultPoolRouter(Component):
    """The pools of a policy by id, nickname and affinity.

    The first is the alpha pool, which a verb means when it names none. Thread-safe.
    """

    scope: ClassVar[str] = "POOL_ROUTER"

    def __init__(self, alpha_pool: Pool | None = None) -> None:
        super().__init__()
        if alpha_pool is None:
            from laila.pool.memory import MemoryPool

            alpha_pool = MemoryPool()
        self._guard: Callable[[], object] | None = None
        self._pools: dict[str, Pool] = {}
        self._nicknames: dict[str, Pool] = {}
        self._made: dict[str, object] = {}
        self._affinities: dict[str, float] = {}
        self._alpha = alpha_pool
        self.extend(alpha_pool)

    @property
    def alpha_pool(self) -> Pool:
        """The pool that a verb means when it names none. Assigning registers the pool where it is new."""
        return self._alpha

    @alpha_pool.setter
    def alpha_pool(self, pool: Pool) -> None:
        if not isinstance(pool, Pool) or self._pools.get(pool.global_id) is not pool:
            self.extend(pool)
        self._alpha = pool
        self._guard = None

    def guard(self, check: Callable[[], object]) -> None:
        """Call ``check()`` before each use of the alpha pool, until one is assigned.

        Args:
            check: Raises if the caller may not use the alpha pool.
        """
        self._guard = check

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The registered pools by global id, in the order they came."""
        return dict(self._pools)

    @property
    def nicknames(self) -> Mapping[str, Pool]:
        """The registered pools by nickname."""
        return dict(self._nicknames)

    @property
    def affinities(self) -> Mapping[str, float]:
        """The affinity of each pool by global id."""
        return dict(self._affinities)

    def made_before(self, nickname: str | None, made_of: object) -> Pool | None:
        """Return the open pool of this nickname that was made from the same arguments, if any.

        Without a nickname it is the alpha pool, or a pool that lasts: two pools in memory are always two.

        Args:
            nickname: The nickname of the pool, or None.
            made_of: The arguments of the pool.

        Returns:
            The pool, or None.
        """
        if nickname is not None:
            named = self._nicknames.get(nickname)
            pools = [] if named is None else [named]
        else:
            lasting = [pool for pool in self._pools.values() if pool.nickname or _lasts(pool)]
            pools = [self._alpha, *lasting]
        for pool in pools:
            if not pool.closed and self._made.get(pool.global_id) == made_of:
                return pool
        return None

    def note_made(self, pool: Pool, made_of: object) -> None:
        """Note the arguments of ``pool``, for :meth:`made_before`. None: no pool is ever the same.

        Args:
            pool: The pool.
            made_of: Its arguments, or None.
        """
        if made_of is not None:
            self._made[pool.global_id] = made_of

    def named_before(
        self, nickname: str | None, urls: Sequence[str], options: Mapping[str, object]
    ) -> Pool | None:
        """Return the open pool of this nickname; ``urls`` and ``options`` must name the same pool.

        Args:
            nickname: What this policy calls the pool.
            urls: The URLs that the pool, or the tiers of its chain, should have.
            options: The options that go with one URL.

        Returns:
            The pool, or None where the nickname is free.

        Raises:
            SettingsError: Where another pool has the nickname; it says what differs.
        """
        check_name(nickname)
        holder = self._holder(nickname)
        if holder is None:
            return None
        if not urls:
            self.check_free(nickname)
        from laila.central.again import difference

        differing = difference(holder, urls, options)
        if differing:
            raise SettingsError(
                f"the nickname {shown(nickname)} belongs to {shown(holder)}: {differing}. Choose another "
                "pool_nickname; or close that pool first, and set up the nickname anew",
                option="pool_nickname",
            )
        return holder

    def _holder(self, nickname: str | None) -> Pool | None:
        """The open pool that has this nickname."""
        holder = None if nickname is None else self._nicknames.get(nickname)
        return None if holder is None or holder.closed else holder

    def check_free(self, nickname: str | None, pool: Pool | None = None) -> None:
        """Raise :class:`SettingsError` (a ``ValueError``) where another pool has this nickname here.

        Args:
            nickname: The nickname.
            pool: The pool that may have it.

        Raises:
            SettingsError: another pool has it (a ``ValueError``).
        """
        holder = self._holder(nickname)
        if holder is not None and holder is not pool:
            raise SettingsError(
                f"the nickname {shown(nickname)} belongs to {shown(holder)}; "
                f"choose another pool_nickname{_AGAIN}",
                option="pool_nickname",
            )

    def _forget_closed(self, *pools: Pool | None) -> None:
        """Make room for another pool of the same name: what was closed is of no use."""
        for pool in pools:
            if pool is not None and pool.closed:
                for table in (self._pools, self._affinities, self._made):
                    table.pop(pool.global_id, None)
                self._nicknames = {
                    name: named for name, named in self._nicknames.items() if named is not pool
                }

    def extend(self, pool: Pool, *, affinity: float | None = None, pool_nickname: str | None = None) -> None:
        """Register ``pool``; ``affinity`` is its priority (higher is preferred, 0 by default).

        Args:
            pool: The pool.
            affinity: Its priority; higher is preferred, 0 by default.
            pool_nickname: Its name here; by default its own nickname.

        Raises:
            InvalidArgumentError: ``pool`` is not a pool (a ``TypeError``).
            SettingsError: another pool has the nickname, or the affinity is wrong (a ``ValueError``).
        """
        if not isinstance(pool, Pool):
            raise InvalidArgumentError(
                f"extend() takes a pool, or a URL such as 'hdf5:///data/run.h5', not {type(pool).__name__}"
            )
        affinity = check_affinity(affinity)
        check_name(pool_nickname)
        nickname = pool_nickname if pool_nickname is not None else pool.nickname
        with mutex:
            known = self._pools.get(pool.global_id)
            if not pool.closed:
                self._forget_closed(known, self._nicknames.get(nickname or ""))
                known = self._pools.get(pool.global_id)
            if known is not None and known is not pool:
                raise SettingsError(
                    f"{shown(known)} has the global id of the new pool, as pools of one nickname do; "
                    f"give the new one another nickname{_AGAIN}",
                    option="nickname",
                )
            self.check_free(nickname, pool)
            if nickname is not None:
                self._nicknames[nickname] = pool
                pool.known_as = pool.known_as or nickname
            self._pools[pool.global_id] = pool
            if affinity is not None or pool.global_id not in self._affinities:
                self._affinities[pool.global_id] = affinity or 0.0

    def adopt(self, pools: Iterable[tuple[Pool, float, Sequence[str]]], alpha_pool: Pool) -> None:
        """Replace all that is registered: pools, affinities and nicknames; for rebuilding.

        Args:
            pools: Each pool, its affinity and its nicknames.
            alpha_pool: The pool for verbs that name none.
        """
        with mutex:
            self._pools, self._nicknames, self._affinities, self._made = {}, {}, {}, {}
            for pool, affinity, nicknames in pools:
                self._pools[pool.global_id] = pool
                self._affinities[pool.global_id] = affinity
                self._nicknames.update(dict.fromkeys(nicknames, pool))
                pool.known_as = next(iter(nicknames), None)
            self._alpha = alpha_pool

    def by_affinity(self) -> list[Pool]:
        """Return the pools by falling affinity.

        Returns:
            The pools.
        """
        with mutex:
            return sorted(self._pools.values(), key=lambda pool: -self._affinities[pool.global_id])

    def places(
        self, hint: str | Pool | None, pool_subset: PoolSubset | None, *, everywhere: bool
    ) -> list[Pool]:
        """Return where to look for one entry, each pool once.

        With ``pool_subset``: the pool ``hint``, then those pools, and no other. Without it: the pool
        ``hint``, the alpha pool, and with ``everywhere`` all by falling affinity.

        Args:
            hint: The nickname or id of a pool, or the pool.
            pool_subset: Nicknames, ids or pools, or a dict with them as keys or values.
            everywhere: Whether every pool is asked where there is no subset.

        Returns:
            The pools, in the order of looking.

        Raises:
            PoolNotFoundError: a pool is not registered here.
            PolicyClosedError: the policy is closed.
        """
        pools = [] if hint is None else [self._meant(hint)]
        alpha = self.choose(ALPHA)  # asked in any case: it knows whether the policy is closed
        if pool_subset is None:
            pools += [alpha, *(self.by_affinity() if everywhere else ())]
        else:
            pools += [self._meant(name) for name in subset_names(pool_subset)]
        return list(dict.fromkeys(pools))

    def _meant(self, name: str | Pool) -> Pool:
        """The registered pool of a nickname, an id or the pool itself."""
        if isinstance(name, Pool):
            return self._find(self._pools, name.global_id, "id")
        if name in self._pools:
            return self._pools[name]
        return self._find(self._nicknames, name, "nickname or id")

    @property
    def pools_nicknames(self) -> Mapping[str, Pool]:
        """Deprecated: the name of :attr:`nicknames` in the older package."""
        from warnings import warn

        warn("router.pools_nicknames is now router.nicknames", DeprecationWarning, stacklevel=2)
        return self.nicknames

    def route(
        self,
        entries: Sequence[Entry] | Sequence[str] = (),
        *,
        pool_id: str | None = None,
        pool_nickname: str | None = None,
        affinity: float | None = None,
    ) -> Pool:
        """Return the pool that is meant: by id, nickname or affinity, else the alpha pool.

        Args:
            entries: What is routed. This router treats all alike.
            pool_id: The global id of the pool.
            pool_nickname: The nickname of the pool.
            affinity: The pool with the highest affinity is meant; its affinity is at least this.

        Returns:
            The pool.

        Raises:
            PoolNotFoundError: (a ``KeyError``) no such pool is registered; it lists those that are.
            SettingsError: (a ``ValueError``) two arguments name different pools.
        """
        return self.choose(PoolChoice(pool_id, pool_nickname, affinity))

    def choose(self, choice: PoolChoice) -> Pool:
        """Return the pool of a choice, as :meth:`route` does.

        Args:
            choice: The id, the nickname and the affinity of the pool, as far as they were given.

        Returns:
            The pool.

        Raises:
            PoolNotFoundError: no such pool is registered.
            SettingsError: the parts of the choice name different pools.
        """
        check_may_use()
        if self._closed:
            raise PolicyClosedError("the policy was closed; make a new one: laila.DefaultPolicy()")
        pool_id, nickname, affinity = choice
        if pool_id is None and nickname is None and affinity is None:
            if self._guard is not None:
                self._guard()
            return self._alpha
        affinity = check_affinity(affinity)
        pools: list[Pool] = []
        if pool_id is not None:
            pools.append(self._find(self._pools, pool_id, "id"))
        if nickname is not None:
            pools.append(self._find(self._nicknames, nickname, "nickname"))
        if affinity is not None:
            best = self.by_affinity()[0]
            if self._affinities[best.global_id] < affinity:
                raise self._unknown(f"affinity {affinity} or more")
            pools.append(best)
        if any(pool is not pools[0] for pool in pools):
            named = [f"{name}={shown(value)}" for name, value in choice.options().items()]
            raise SettingsError(
                f"{' and '.join(named)} name different pools: give one of them", option="pool_id"
            )
        return pools[0]

    def _find(self, table: dict[str, Pool], name: str, kind: str) -> Pool:
        if not isinstance(name, str):
            raise InvalidArgumentError(f"pool_{kind} is a text, not a {type(name).__name__}")
        pool = table.get(str(name))
        if pool is None:
            raise self._unknown(f"{kind} {shown(name)}")
        return pool

    def _unknown(self, what: str) -> PoolNotFoundError:
        names = {pool.global_id: name for name, pool in self._nicknames.items()}
        registered = [names.get(gid, gid) for gid in self._pools]
        listed = [names.get(gid) or f"{gid} ({pool.label})" for gid, pool in self._pools.items()]
        return PoolNotFoundError(
            f"no pool with {what}; registered: {', '.join(listed)}. Add one with laila.memory.extend(pool)",
            pool=what,
            registered=registered,
        )

    def _close(self) -> None:
        """Close every pool, caches before their origins; the first error is raised when all are closed."""
        tiers = [tier for pool in self._pools.values() for tier in pool.chain()]
        # An exit handler may still ask for what is in memory alone.
        do_all(tier.close for tier in tiers if tier.blocking or not exiting())


def _lasts(pool: Pool) -> bool:
    """Whether what a pool, or its chain, holds outlives this process."""
    return any(tier.blocking for tier in pool.chain())
